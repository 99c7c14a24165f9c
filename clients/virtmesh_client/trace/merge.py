"""One order for the events of several recorders: by time.

Sources of one host share their clock. Those of several hosts are placed by their host's time of
day: good for seeing what happened at about the same time, not for cause and effect.

Within a source, numbers can differ from times by a little: a batch of register accesses is recorded
at its end, with the time at which it began. So events wait in a heap until what can come before
them is there.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from virtmesh_client.trace.events import Event, Source

REORDER_EVENTS = 4096
"""Events of one source that wait for earlier ones; a batch of register accesses has no more."""
WAITING_MAX = 65_536
"""Most events that wait in a live merge."""

Key = tuple[int, str, str, int, bool]


class Clock:
    """Gives events of several sources one time, in ns."""

    def __init__(self) -> None:
        self._offsets: dict[str, int] = {}
        self._first: int | None = None

    def time(self, event: Event) -> int:
        """Return when it was, by the first source's CLOCK_MONOTONIC."""
        return event.time_ns + self._offset(event.source)

    def key(self, event: Event) -> Key:
        """Return what events are sorted by. What says that some are lost stands before its page."""
        source = event.source
        return (self.time(event), source.device, source.side, event.sequence, event.kind != "lost")

    def _offset(self, source: Source) -> int:
        """Return what to add to times of a host: as measured once, or its times would jump."""
        if source.boot_id not in self._offsets:
            if self._first is None:
                self._first = source.realtime_offset_ns
            self._offsets[source.boot_id] = source.realtime_offset_ns - self._first
        return self._offsets[source.boot_id]


def merge(streams: Iterable[Iterable[Event]], clock: Clock) -> Iterator[Event]:
    """Merge recorders that are read to their end."""
    ordered = [_in_order(stream, clock) for stream in streams]
    for _, event in heapq.merge(*ordered, key=lambda pair: pair[0]):
        yield event


def _in_order(stream: Iterable[Event], clock: Clock) -> Iterator[tuple[Key, Event]]:
    """Sort the events of a source, which are in order but for a little."""
    heap: list[tuple[Key, int, Event]] = []
    for count, event in enumerate(stream):
        # Two events have one key when a service numbers wrongly: events have no order themselves.
        item = (clock.key(event), count, event)
        if len(heap) < REORDER_EVENTS:
            heapq.heappush(heap, item)
        else:
            key, _, earliest = heapq.heappushpop(heap, item)
            yield key, earliest
    while heap:
        key, _, earliest = heapq.heappop(heap)
        yield key, earliest


class LiveMerge:
    """Merges events as they arrive: each waits until those before it have had time to arrive too.

    `wait` is how long that is, in seconds; times handed in are of any one steady clock.
    """

    def __init__(self, clock: Clock, wait: float) -> None:
        self._clock = clock
        self._wait = wait
        self._heap: list[tuple[Key, int, Event]] = []
        self._arrived: list[tuple[float, int]] = []
        self._count = 0

    def add(self, events: Iterable[Event], now: float) -> None:
        """Take events in."""
        latest = None
        for event in events:
            key = self._clock.key(event)
            latest = key[0] if latest is None else max(latest, key[0])
            # Two events have one key when a service that came back numbers anew.
            self._count += 1
            heapq.heappush(self._heap, (key, self._count, event))
        if latest is not None:
            self._arrived.append((now, latest))

    def ready(self, now: float) -> Iterator[Event]:
        """Return the events whose turn has come."""
        due = [mark for arrived, mark in self._arrived if arrived + self._wait <= now]
        self._arrived = self._arrived[len(due) :]
        limit = max(due, default=None)
        while self._heap and (
            (limit is not None and self._heap[0][0][0] <= limit) or len(self._heap) > WAITING_MAX
        ):
            yield heapq.heappop(self._heap)[2]

    def rest(self) -> Iterator[Event]:
        """Return what still waits, in order."""
        while self._heap:
            yield heapq.heappop(self._heap)[2]
