"""The driver's end of an event queue as a script: posts buffers when told to, and reads events.

    poster = EventPoster(queue, ram.guest_memory, address, count=64)
    poster.post()
    ...
    events = poster.take()

For tests that decide how many buffers there are, and when; VirtIOInput in virtmesh.drivers is what
real use needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_common.input.spec import EVENT

if TYPE_CHECKING:
    from virtmesh_native import DriverQueue, GuestMemory

Event = tuple[int, int, int]
"""Type, code, value."""


class EventPoster:
    """Buffers for `count` events, at an address of guest memory; none is posted at first."""

    def __init__(self, queue: DriverQueue, memory: GuestMemory, address: int, count: int) -> None:
        self.queue = queue
        self._memory = memory
        self._idle = [address + place * EVENT.size for place in range(count)]
        self._posted: dict[int, int] = {}

    @property
    def posted(self) -> int:
        """Buffers that the device has."""
        return len(self._posted)

    def post(self, count: int | None = None) -> None:
        """Post so many buffers, all that are idle if None. Errors: ValueError for too many."""
        wanted = len(self._idle) if count is None else count
        if wanted > len(self._idle):
            raise ValueError(f"{len(self._idle)} buffers are idle, not {wanted}")
        for _ in range(wanted):
            address = self._idle.pop()
            token = self.queue.add([], [(address, EVENT.size)])
            if token is None:
                raise ValueError("the queue is full")
            self._posted[token] = address

    def take(self) -> list[Event]:
        """Read the events that have come. Errors: ValueError for a buffer without one."""
        events: list[Event] = []
        while used := self.queue.pop_used():
            for token, written in used:
                if written != EVENT.size:
                    raise ValueError(f"the device wrote {written} bytes, no event")
                address = self._posted.pop(token)
                kind, code, value = EVENT.unpack(self._memory.read(address, EVENT.size))
                events.append((kind, code, value))
                self._idle.append(address)
        return events
