"""What a terminal has learned and nobody has read yet: bounded, the oldest is dropped first.

Whoever calls holds the terminal's lock.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from virtmesh_client.serial.models import Gap, Output

if TYPE_CHECKING:
    from virtmesh_client.serial.models import Event

LIMIT_BYTES = 16 << 20
"""Most that is kept for a reader that does not read."""
EVENT_BYTES = 64
"""What any event counts beside its bytes."""


class Inbox:
    """Events in order."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._size = 0
        self._dropped = 0
        self._resume_at = 0

    def __bool__(self) -> bool:
        return bool(self._events) or bool(self._dropped)

    def put(self, event: Event) -> None:
        """Take an event in."""
        self._events.append(event)
        self._size += weigh(event)
        while self._size > LIMIT_BYTES:
            oldest = self._events.popleft()
            self._size -= weigh(oldest)
            if isinstance(oldest, Output):
                self._dropped += len(oldest.data)
                self._resume_at = oldest.offset + len(oldest.data)
            elif isinstance(oldest, Gap):
                self._dropped += oldest.missed_bytes
                self._resume_at = oldest.offset

    def purge(self) -> None:
        """Drop all output, as its reader asked for: that is no gap."""
        self._events = deque(one for one in self._events if not isinstance(one, Output))
        self._size = sum(weigh(one) for one in self._events)
        self._dropped = 0

    def take(self) -> Event:
        """Return the oldest event. Errors: IndexError when there is none."""
        if self._dropped:
            gap = Gap(self._resume_at, self._dropped)
            self._dropped = 0
            return gap
        event = self._events.popleft()
        self._size -= weigh(event)
        return event


def weigh(event: Event) -> int:
    """Return what an event counts."""
    return EVENT_BYTES + (len(event.data) if isinstance(event, Output) else 0)
