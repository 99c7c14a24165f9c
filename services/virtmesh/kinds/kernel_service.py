"""What a kind adds to the kernel service: a gRPC service for clients, on top of its drivers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import grpc.aio

    from virtmesh.drivers.base import Driver


class KernelService(Protocol):
    """One gRPC service of the kernel."""

    name: str
    """Its full gRPC name."""

    def add_to(self, server: grpc.aio.Server) -> None:
        """Add the service to the server."""

    def close(self) -> None:
        """End the streams that have no end of their own: the kernel service stops."""


KernelServiceFactory = Callable[["Callable[[str], Driver]"], KernelService]
"""Makes a service. It gets what returns the driver of a device that is in use, by name.

That raises DeviceNotFound and DeviceNotReady; a driver of another kind is the service's to refuse.
"""
