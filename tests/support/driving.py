"""Start the driver of a device, on a model in this process or through a device service."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

from virtmesh.attach.grpc_bus import GrpcBus
from virtmesh.attach.guest_ram import Ram
from virtmesh.drivers.settings import Settings
from virtmesh.host.host import Addresses, Host
from virtmesh.host.report import make_report
from virtmesh.kinds import kind_of
from virtmesh.machine import DoorbellKind, InterruptMode
from virtmesh.testing.local_bus import LocalBus
from virtmesh.virtio.mmio_driver import VirtIOHeader
from virtmesh_common.errors import DriverError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from virtmesh.attach.bus import Bus
    from virtmesh.drivers.base import Driver
    from virtmesh.mmio.device import Device


class StreamBus(GrpcBus):
    """A bus that accesses registers by gRPC, whatever the device offers."""

    uses_channel = False


MEMORY = 16 << 20
"""RAM of a driver, in bytes."""


@asynccontextmanager
async def drive_locally(
    device: Device,
    *,
    doorbell: DoorbellKind = DoorbellKind.EVENTFD,
    **options: Any,
) -> AsyncIterator[Driver]:
    """Start the driver of a device model. The device is closed at the end."""
    try:
        with Ram(MEMORY) as ram:
            bus = LocalBus(device, ram, doorbell)
            async with _started(bus, device, **options) as driver:
                yield driver
    finally:
        device.close()


REACHES = ("local", "grpc", "channel")
"""Ways from a driver to its device."""


def driving(
    reach: str, device: Device, folder: Path, **options: Any
) -> AbstractAsyncContextManager[Driver]:
    """Start the driver of a device, which is reached in one of the REACHES."""
    if reach == "local":
        return drive_locally(device, **options)
    kind = StreamBus if reach == "grpc" else GrpcBus
    return drive_remotely(device, folder, kind, **options)


@asynccontextmanager
async def drive_remotely(
    device: Device,
    folder: Path,
    kind: type[GrpcBus],
    *,
    doorbell: DoorbellKind = DoorbellKind.EVENTFD,
    **options: Any,
) -> AsyncIterator[Driver]:
    """Serve a device on sockets in a folder, and start its driver. Both are closed at the end."""
    address = f"unix:{folder / 'device.sock'}"
    host = Host(device, Addresses([address], folder / "handover.sock"))
    await host.start()
    try:
        with Ram(MEMORY) as ram:
            bus = await kind.connect(address, ram=ram, driver_name="test", doorbell=doorbell)
            async with _started(bus, device, **options) as driver:
                yield driver
    finally:
        await host.stop()


@asynccontextmanager
async def _started(
    bus: Bus,
    device: Device,
    interrupts: InterruptMode = InterruptMode.INTERRUPT,
    refused: int = 0,
) -> AsyncIterator[Driver]:
    """Start the driver of an attached device. Close driver and bus at the end.

    The driver must not have broken a rule (virtmesh.report).
    """
    try:
        about = device.description
        if about.virtio_device_id:  # as the kernel does before it chooses a driver
            await VirtIOHeader(bus).probe()
        kind = kind_of((about.compatible,), about.virtio_device_id)
        if kind is None or kind.driver is None:
            raise DriverError(f"no driver for {about.compatible}, ID {about.virtio_device_id}")
        driver = kind.driver.from_node(bus, {}, Settings(interrupts=interrupts, refused=refused))
        bus.on_interrupt(driver.handle_irq)
        try:
            await driver.start()
            yield driver
        finally:
            await driver.close()
        broken = make_report(device, "test").violations
        assert not broken, broken
    finally:
        await bus.close()
