"""What a kind offers to people: gRPC services, of each of its devices and of the kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from virtmesh_common.errors import WrongKind

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


DeviceServiceFactory = Callable[[Any], KindService]
"""Makes a service of one device. It gets the model of the device."""

FindDriver = Callable[[str], "Driver"]
"""Returns the driver of a device that is in use, by name.

Errors: DeviceNotFound; DeviceNotReady. A driver of another kind is the service's to refuse, with
the error that `wrong_kind` makes.
"""

KernelServiceFactory = Callable[[FindDriver], KindService]
"""Makes a service of the kernel, on top of its drivers."""


def wrong_kind(name: str, driver: object, wanted: str) -> WrongKind:
    """Make the error for a device whose driver is not what a service is for, such as a disk."""
    return WrongKind(f"{name} is no {wanted}: it is driven by {type(driver).__name__}")
