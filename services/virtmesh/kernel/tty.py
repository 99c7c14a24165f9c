"""What users of a serial port, such as the monitor, need of it; NS16550a is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable


@runtime_checkable
class Tty(Protocol):
    """A serial port as a kernel has it. Reads and writes raise VirtmeshError when it is lost."""

    name: str
    """Name of the device, for people."""
    on_break: Callable[[], object]
    """Called for every break that comes."""

    @property
    def kernel_queue(self) -> bool:
        """True while the driver keeps a receive queue of its own behind the port's FIFO."""

    @property
    def overruns_seen(self) -> int:
        """Times that the port said that it had lost something."""

    async def read(self, limit: int = ...) -> bytes:
        """Return what has come, at most `limit` bytes; wait for the first.

        Cancelled, it loses nothing.
        """

    async def write(self, data: bytes) -> None:
        """Send bytes; wait for room."""

    async def drain(self) -> None:
        """Wait until all that was written has left the port."""

    def set_kernel_queue(self, *, on: bool) -> None:
        """Turn the receive queue on or off."""
