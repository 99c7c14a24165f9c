"""What a kind offers to people: gRPC services, of each of its devices and of the kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from virtmesh_common.errors import WrongKind
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    import grpc.aio

    from virtmesh.drivers.base import Driver


class KindService(Protocol):
    """One gRPC service, in a device service or in the kernel service."""

    name: str
    """Its full gRPC name."""

    def add_to(self, server: grpc.aio.Server) -> None:
        """Add the service to the server."""

    def end_streams(self) -> None:
        """End the calls that have no end of their own: the server stops."""


@runtime_checkable
class ListeningService(KindService, Protocol):
    """One that takes more than calls: it has sockets of its own, beside those of the server."""

    def listen(self, addresses: Iterable[str]) -> None:
        """Listen, before the server gives its rights up; `addresses` are the server's.

        What it listens at ends with `end_streams`.
        """


DeviceServiceFactory = Callable[[Any], KindService]
"""Makes a service of one device. It gets the model of the device."""


class DriverOfDevice(Protocol):
    """The driver of one device, from attachment to attachment."""

    driver: Driver | None
    """The present one; None while the device is away. It may have failed a moment ago."""
    orders: int
    """Times that somebody had the device reset or detached: what it had then is to end."""
    resubmitted: int
    """Requests that began again after a loss of the device: whoever does so counts them here."""

    @property
    def comes_back(self) -> bool:
        """Whether the device may be in use soon, without anyone's help."""

    def ready_driver(self) -> Driver:
        """Return the driver of a device that is in use. Errors: DeviceNotReady, which says why."""

    async def changed(self) -> None:
        """Wait until the state of the device is another one."""

    async def next_driver(self, last: Driver | None, /) -> Driver:
        """Wait until the device is in use by another driver than the last one."""


class FindDriver(Protocol):
    """Finds drivers by the names of their devices."""

    def __call__(self, name: str, /) -> Driver:
        """Return the driver of a device that is in use.

        Errors: DeviceNotFound; DeviceNotReady. A driver of another kind is the service's to refuse,
        with the error that `wrong_kind` makes.
        """

    def device(self, name: str, /) -> DriverOfDevice:
        """Return what follows the drivers of a device. Errors: DeviceNotFound."""


KernelServiceFactory = Callable[[FindDriver], KindService]
"""Makes a service of the kernel, on top of its drivers."""


async def until_back(device: DriverOfDevice, retry_for: float) -> None:
    """Wait so long, in seconds, for a device that is away and comes back."""
    with suppress(TimeoutError):
        async with time_limit(retry_for):
            while device.comes_back:
                await device.changed()


def wrong_kind(name: str, driver: object, wanted: str) -> WrongKind:
    """Make the error for a device whose driver is not what a service is for, such as a disk."""
    return WrongKind(f"{name} is no {wanted}: it is driven by {type(driver).__name__}")
