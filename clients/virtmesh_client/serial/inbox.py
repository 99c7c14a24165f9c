"""Received events that were not read yet. The queue is bounded; the oldest event is dropped first.

All callers hold the lock of the terminal.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from virtmesh_client.serial.models import Gap, Output

if TYPE_CHECKING:
    from virtmesh_client.serial.models import SerialEvent

LIMIT_BYTES = 16 << 20
"""Limit for the size of all events that are kept."""
EVENT_BYTES = 64
"""Size that each event counts, in addition to its data."""


class Inbox:
    """A queue of events."""

    def __init__(self) -> None:
        self._events: deque[SerialEvent] = deque()
        self._size = 0
        self._dropped = 0
        self._resume_at = 0

    def __bool__(self) -> bool:
        return bool(self._events) or bool(self._dropped)

    def put(self, event: SerialEvent) -> None:
        """Add an event. Drop the oldest events if the limit is exceeded."""
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
        """Drop all output. The reader asked for it, so it is not reported as a gap."""
        self._events = deque(one for one in self._events if not isinstance(one, Output))
        self._size = sum(weigh(one) for one in self._events)
        self._dropped = 0

    def take(self) -> SerialEvent:
        """Remove and return the oldest event. Errors: IndexError if there is none."""
        if self._dropped:
            gap = Gap(self._resume_at, self._dropped)
            self._dropped = 0
            return gap
        event = self._events.popleft()
        self._size -= weigh(event)
        return event


def weigh(event: SerialEvent) -> int:
    """Return the size of an event."""
    return EVENT_BYTES + (len(event.data) if isinstance(event, Output) else 0)
