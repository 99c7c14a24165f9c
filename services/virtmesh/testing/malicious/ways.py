"""Ways to a device: in this process, or through its service."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

from virtmesh.attach.grpc_bus import GrpcBus
from virtmesh.attach.notifier import DoorbellKind
from virtmesh.testing.local_bus import LocalBus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from virtmesh.attach.bus import Bus
    from virtmesh.attach.guest_ram import Ram
    from virtmesh.mmio.device import Device

    Attach: TypeAlias = Callable[[Ram], AbstractAsyncContextManager[Bus]]
else:
    Attach = object
"""Attaches to the device with a driver's memory, and detaches at the end."""


def local(device: Device) -> Attach:
    """Return the way to a device model in this process. It stays the same in all rounds."""

    @asynccontextmanager
    async def attach(ram: Ram) -> AsyncIterator[Bus]:
        bus = LocalBus(device, ram)
        try:
            yield bus
        finally:
            await bus.close()

    return attach


def service(address: str) -> Attach:
    """Return the way to the device that is served at an address, such as `unix:/run/vda.sock`."""

    @asynccontextmanager
    async def attach(ram: Ram) -> AsyncIterator[Bus]:
        bus = await GrpcBus.connect(
            address, ram=ram, driver_name="malicious", doorbell=DoorbellKind.EVENTFD
        )
        try:
            yield bus
        finally:
            await bus.close()

    return attach
