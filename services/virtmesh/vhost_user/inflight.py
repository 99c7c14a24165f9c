"""The in-flight logs of a front end's rings: made here, kept by the front end, used natively.

They record which chains this service popped and did not push, and they outlive it: when a back end
is gone, the front end connects to the next one and sends the logs again ("Inflight I/O tracking").
native/ring (`inflight`) says what is written into them, in which order.

The back end chooses the layout: the region of each ring follows the one before. Its length depends
on the ring format and on the number of entries.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from virtmesh_native import FrontEndMemory, InFlightLog

from virtmesh.mmio.inflight_logs import PAGE, make_log_file
from virtmesh.vhost_user.messages import SIZE_MAX, Inflight
from virtmesh_common.errors import FrontEndViolation, MemoryRefused

if TYPE_CHECKING:
    from collections.abc import Callable


class InFlightLogs:
    """The logs of one front end, mapped. `failed` gets the error that ends its connection."""

    def __init__(
        self,
        description: Inflight,
        descriptor: int,
        rings: int,
        failed: Callable[[Exception], None],
    ) -> None:
        """Map the logs. The caller keeps the descriptor. Errors: FrontEndViolation."""
        check(description, rings)
        # Map no more than the logs need, whatever the size of the file is.
        needed = length(description, packed=True)
        size = min(description.mmap_size, needed)
        try:
            self._mapping = FrontEndMemory([(descriptor, 0, size, description.mmap_offset)])
        except MemoryRefused as error:
            raise FrontEndViolation(f"its in-flight log can't be used: {error.message}") from error
        self._memory = self._mapping.guest_memory
        self._description = description
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._mapping.lost_fd, self._lose)

    def of(self, ring: int, *, packed: bool) -> InFlightLog | None:
        """Return the log of a ring; None if the front end has none for it.

        Errors: FrontEndViolation if the log is longer than the file.
        """
        if ring >= self._description.num_queues:
            return None
        capacity = self._description.queue_size
        each = InFlightLog.length(capacity, packed=packed)
        address, size = ring * each, self._description.mmap_size
        if address + each > size:
            raise FrontEndViolation(
                f"the in-flight log of ring {ring} ends behind its {size} bytes"
            )
        return InFlightLog(self._memory, address, capacity)

    def close(self) -> None:
        """Unmap the logs, which keep their content. No ring may be served."""
        self._loop.remove_reader(self._mapping.lost_fd)

    def _lose(self) -> None:
        """End the connection of a front end that made its file shorter."""
        self._loop.remove_reader(self._mapping.lost_fd)
        self._failed(FrontEndViolation("the file with the in-flight log was made shorter"))


def make_logs(asked: Inflight, rings: int, *, packed: bool) -> tuple[Inflight, int]:
    """Make memory for logs. Return its description and its descriptor, which the caller owns.

    Errors: FrontEndViolation.
    """
    check(asked, rings)
    size = length(asked, packed=packed)
    try:
        descriptor = make_log_file(size)
    except OSError as error:
        raise FrontEndViolation(
            f"no in-flight log of {size} bytes can be made: {os.strerror(error.errno or 0)}"
        ) from error
    return Inflight(size, 0, asked.num_queues, asked.queue_size), descriptor


def length(description: Inflight, *, packed: bool) -> int:
    """Return the bytes of all logs, in whole pages."""
    each = InFlightLog.length(description.queue_size, packed=packed)
    total = description.num_queues * each
    return total + -total % PAGE


def check(description: Inflight, rings: int) -> None:
    """Check the numbers of rings and of entries. Errors: FrontEndViolation."""
    if not 1 <= description.num_queues <= rings:
        raise FrontEndViolation(
            f"an in-flight log of {description.num_queues} rings; the device has {rings}"
        )
    if not 1 <= description.queue_size <= SIZE_MAX:
        raise FrontEndViolation(
            f"an in-flight log of {description.queue_size} entries; 1 to {SIZE_MAX} are possible"
        )
