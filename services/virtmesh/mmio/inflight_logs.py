"""The in-flight logs of the queues of one attachment: memory of the driver that outlives devices.

A log says which chains this device took and did not use. When the process of the device is gone,
the driver hands the same memory to the next one, whose queues resume there. native/ring
(`inflight`) says what is written, and in which order.

Layout (virtmesh.memory.v1): one part for each queue, in the order of the queues, each as long as
a log of a packed queue of the largest size. So the place of a part depends on the device alone,
and a driver may choose ring format and queue size anew after each reset. Behind them is what
the device keeps (kept_state), if it keeps something.

Threats: the driver can write anything there at any time. A log is read once, when its queue is
started, and checked; what does not make sense is refused.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from virtmesh_native import GuestMemory, InFlightLog

from virtmesh.mmio.kept_state import KeptState
from virtmesh_common.errors import MemoryRefused, MemoryUnsealed

if TYPE_CHECKING:
    from collections.abc import Sequence

KEPT_STATE_MAX = 256 << 20
"""Most bytes that a driver has for what a device keeps."""
PAGE = 4096
"""Sizes of shared memory are multiples of this, in bytes."""
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
"""Nobody can change the size of the file."""


class InFlightLogs:
    """The logs of one attachment, mapped. `queue_size_max` has the largest size of each queue."""

    def __init__(
        self, descriptor: int, queue_size_max: Sequence[int], kept_state_bytes: int = 0
    ) -> None:
        """Map the logs, and what the device keeps behind them if the driver has room for it.

        The caller keeps the descriptor.

        Errors: MemoryRefused, MemoryUnsealed, MemoryTooSmall.
        """
        # Map no more than the logs need, whatever the size of the file is.
        size = logs_size(queue_size_max)
        if not size:
            raise MemoryRefused("an in-flight log came, and the device has no queues: send none")
        check_sealed(descriptor)
        kept = kept_state_bytes if os.fstat(descriptor).st_size >= size + kept_state_bytes else 0
        try:
            memory = GuestMemory([(descriptor, 0, size + kept, 0)])
        except MemoryRefused as error:
            raise type(error)(f"the in-flight log: {error.message}") from error
        self._logs: list[InFlightLog] = []
        address = 0
        for size_max in queue_size_max:
            self._logs.append(InFlightLog(memory, address, size_max))
            address += InFlightLog.length(size_max, packed=True)
        self.kept_state = KeptState(memory, size, kept) if kept else None
        self._kept = False

    def of(self, queue: int) -> InFlightLog:
        """Return the log of a queue, which must exist."""
        return self._logs[queue]

    def clear(self, queue: int) -> None:
        """Mark the log of a queue unused: its driver gave the queue up. It must be stopped."""
        if not self._kept:
            self._logs[queue].forget()

    def keep(self) -> None:
        """Clear no log any more: the driver is gone, and what is in flight is for the next device.

        A reset because of that is not one that the driver asked for.
        """
        self._kept = True
        if self.kept_state is not None:
            self.kept_state.freeze()


def check_sealed(descriptor: int) -> None:
    """Check that a descriptor is a sealed memfd, before anything else is asked. MemoryUnsealed.

    Any other file can be one of FUSE, and its server need not answer.
    """
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError:
        seals = 0
    if not seals & fcntl.F_SEAL_SHRINK:
        raise MemoryUnsealed(
            "the in-flight log is not sealed against shrinking: add F_SEAL_SHRINK to its memfd"
        )


def logs_size(queue_size_max: Sequence[int]) -> int:
    """Return the bytes of the logs of a device's queues, in whole pages."""
    total = sum(InFlightLog.length(size_max, packed=True) for size_max in queue_size_max)
    return total + -total % PAGE


def make_logs(queue_size_max: Sequence[int], kept_state_bytes: int = 0) -> int:
    """Make logs that are not in use. Return their descriptor, which the caller owns.

    Memory is taken when it is written to.

    Errors: OSError.
    """
    kept = min(kept_state_bytes, KEPT_STATE_MAX)
    return make_log_file(logs_size(queue_size_max) + kept + -kept % PAGE)


def make_log_file(size: int) -> int:
    """Make a file of zeroes that keeps its size. Return its descriptor. Errors: OSError."""
    descriptor = os.memfd_create("in-flight", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, size)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
