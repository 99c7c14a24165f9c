"""The two queues of an input device, on the rings of the driver (virtio 1.4, 5.8.6).

A chain whose buffers break the rules of 5.8.6.1 (fewer than 8 bytes, or in the wrong direction) is
malformed: it is counted and given back with length 0, since nothing was written to it (2.7.8.2).
The ring itself is sound then, so that there is no need for a reset.
Errors of every method that takes chains: RingCorrupt.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from virtmesh_native import DeviceQueue

from virtmesh_common.input.spec import EVENT, EVENTQ, STATUSQ

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtmesh_native import GuestMemory, QueueConfig, Recorder

    Pieces = Sequence[tuple[int, int]]
    """Buffers of a chain: address, length in bytes."""


class EventRing:
    """The event queue: buffers of the driver, each for one event."""

    def __init__(
        self, memory: GuestMemory, config: QueueConfig, recorder: Recorder | None = None
    ) -> None:
        self._memory = memory
        self._queue = DeviceQueue(memory, config, recorder=recorder, index=EVENTQ)
        self._held: deque[tuple[int, Pieces]] = deque()
        self.malformed = 0
        """Chains that were given back unused."""

    @property
    def held(self) -> int:
        """Buffers at hand."""
        return len(self._held)

    @property
    def base(self) -> int:
        """Where another one goes on, with the buffers at hand: they were taken last, in order."""
        return self._queue.base_in_order

    def take(self, limit: int) -> int:
        """Take available chains, at most so many; return how many there were."""
        for taken in range(limit):
            chain = self._queue.pop()
            if chain is None:
                return taken
            head, readable, writable = chain
            room = first_bytes(writable, EVENT.size)
            if readable or room is None:
                self.malformed += 1
                self._queue.push(head, 0)
            else:
                self._held.append((head, room))
        return limit

    def write(self, events: Sequence[bytes]) -> None:
        """Put events into as many buffers, which must be held, and give these back."""
        for event in events:
            head, room = self._held.popleft()
            position = 0
            for address, length in room:
                self._memory.write(address, event[position : position + length])
                position += length
            self._queue.push(head, EVENT.size)

    def needs_interrupt(self) -> bool:
        """Say whether the driver wants an interrupt for what was given back since the last call."""
        return self._queue.needs_interrupt()

    def wake_me(self) -> bool:
        """Ask to be notified of more buffers; True when there are some already."""
        return self._queue.enable_notifications()

    def let_me_sleep(self) -> None:
        """Ask for no notifications: there is nothing to deliver."""
        self._queue.disable_notifications()


class StatusRing:
    """The status queue: events of the driver, one in each chain."""

    def __init__(
        self, memory: GuestMemory, config: QueueConfig, recorder: Recorder | None = None
    ) -> None:
        self._memory = memory
        self._queue = DeviceQueue(memory, config, recorder=recorder, index=STATUSQ)
        self.malformed = 0
        """Chains without an event."""

    @property
    def base(self) -> int:
        """Where another one goes on."""
        return self._queue.base

    def take(self, limit: int) -> list[tuple[int, int, int]]:
        """Take events (type, code, value) of at most so many chains, and give these back."""
        events = []
        for _ in range(limit):
            chain = self._queue.pop()
            if chain is None:
                break
            head, readable, _ = chain
            pieces = first_bytes(readable, EVENT.size)
            if pieces is None:
                self.malformed += 1
            else:
                events.append(EVENT.unpack(b"".join(self._memory.read(*piece) for piece in pieces)))
            self._queue.push(head, 0)
        return events

    def needs_interrupt(self) -> bool:
        """Say whether the driver wants an interrupt for what was given back since the last call."""
        return self._queue.needs_interrupt()

    def wake_me(self) -> bool:
        """Ask to be notified of more events; True when there are some already."""
        return self._queue.enable_notifications()


def first_bytes(pieces: Pieces, length: int) -> Pieces | None:
    """Return the buffers of the first bytes of a chain; None when it has fewer.

    How a driver arranges a chain is its own affair (2.7.4.1).
    """
    found = []
    for address, size in pieces:
        found.append((address, min(size, length)))
        length -= found[-1][1]
        if length == 0:
            return found
    return None
