"""The events of one input device, kept for any number of readers, each at its own pace.

A ring holds the last `kept` events. A reader is a number: how many events it has read. New events
never wait for a slow reader, so memory is bounded and readers do not affect each other. A reader
that misses events gets an error.

The log outlives the process of its device: a reader with patience (`retry_for`) goes on with the
next one. What may be missing between the two is marked in the log by SYN_DROPPED and SYN_REPORT, as
Linux marks it for readers of evdev.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from contextlib import suppress
from typing import TYPE_CHECKING

from virtmesh_common.errors import WatcherTooSlow
from virtmesh_common.evdev import CODES, TYPES
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from virtmesh_common.errors import VirtmeshError

EVENTS_KEPT = 65536
"""Most events a reader can be behind (virtmesh.kernel.v1.InputDeviceService.Watch)."""
SYN = TYPES["EV_SYN"] << 48
END = SYN | CODES["EV_SYN"]["SYN_REPORT"] << 32
"""The event that ends a packet."""
GAP = (SYN | CODES["EV_SYN"]["SYN_DROPPED"] << 32, END)
"""What says that events may be missing: a reader asks for the state, and begins anew behind it."""
READ_MAX = 8192
"""Most events of one read, unless told otherwise: 128 KiB as a message."""


class EventLog:
    """Events in the order in which they came, each with its time. `count` is how many came so far.

    An event is one u64: type << 48 | code << 32 | value. Runs on the event loop that made it.
    """

    def __init__(self, kept: int = EVENTS_KEPT) -> None:
        self.kept = kept
        self.count = 0
        self.cut_off = 0
        """Times that a reader was too slow."""
        self._events = array("Q", bytes(8 * kept))
        self._times = array("Q", bytes(8 * kept))
        self.broken: Callable[[], VirtmeshError] | None = None
        """Makes the error of readers that have read everything; None while the device works."""
        self.broken_at: float | None = None
        """When the device went away that may come back, by the monotonic clock; else None."""
        self._waiting: set[asyncio.Future[None]] = set()

    def extend(self, events: Sequence[int]) -> None:
        """Add events with the time of now, and wake the readers."""
        now_us = time.time_ns() // 1000
        for number, event in enumerate(events, start=self.count):
            self._events[number % self.kept] = event
            self._times[number % self.kept] = now_us
        self.count += len(events)
        self.wake()

    def fail(self, error: Callable[[], VirtmeshError], *, comes_back: bool = False) -> None:
        """Let readers fail with the error that `error` makes, once they have read everything.

        Where the device `comes_back`, only those fail that have waited for long enough.
        """
        self.broken, self.broken_at = error, time.monotonic() if comes_back else None
        self.wake()

    def go_on(self) -> None:
        """Let readers wait for events again: the device is there."""
        self.broken = self.broken_at = None
        self.wake()

    def mark_gap(self) -> None:
        """Say in the log that something may be missing here."""
        self.extend(GAP)

    def reader(self) -> EventReader:
        """Make a reader of the events that come from now on."""
        return EventReader(self)

    async def news(self) -> None:
        """Wait until there may be new events."""
        news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(news)
        try:
            await news
        finally:
            self._waiting.discard(news)

    def wake(self) -> None:
        """Wake everyone who waits in `news`."""
        for news in self._waiting:
            if not news.done():
                news.set_result(None)

    def slice(self, start: int, stop: int) -> tuple[array[int], array[int]]:
        """Return events `start` to `stop` and their times, microseconds since the epoch.

        The caller knows that all of them are still kept.
        """
        first, end = start % self.kept, start % self.kept + stop - start
        events, times = self._events[first:end], self._times[first:end]
        if end > self.kept:
            events += self._events[: end - self.kept]
            times += self._times[: end - self.kept]
        return events, times


class EventReader:
    """Reads a log from where it was when the reader was made. `sequence` counts the events read.

    When several tasks read by one reader, each event goes to one of them.
    """

    def __init__(self, log: EventLog) -> None:
        self.sequence = log.count
        self.retry_for = 0.0
        """How long it waits for a device that has gone and may come back, in seconds."""
        self._log = log
        self._stopped: Callable[[], VirtmeshError] | None = None

    def is_empty(self) -> bool:
        """Say whether `read` would wait."""
        return self.sequence == self._log.count

    def stop(self, error: Callable[[], VirtmeshError]) -> None:
        """Let every `read` fail from now on with the error that `error` makes."""
        self._stopped = error
        self._log.wake()

    async def read(self, limit: int = READ_MAX) -> tuple[array[int], array[int]]:
        """Return the events that have come, at most `limit`, and their times; wait for the first.

        Times are in microseconds since the epoch. Errors: WatcherTooSlow ("sequence": the number of
        the last event read) once events were missed, for every later call too; the errors that
        were given to `EventLog.fail` and `stop`.
        """
        await self._until_news()
        behind = self._log.count - self.sequence
        if behind > self._log.kept:
            self._log.cut_off += 1
            raise WatcherTooSlow(
                f"{behind} events behind, and {self._log.kept} are kept: events after number"
                f" {self.sequence} are lost. Watch again, and read as events come",
                sequence=self.sequence,
            )
        start, self.sequence = self.sequence, self.sequence + min(behind, limit)
        return self._log.slice(start, self.sequence)

    async def _until_news(self) -> None:
        """Wait for something to read. Errors: those given to `stop` and `EventLog.fail`."""
        log = self._log
        while self._stopped is None and self.is_empty():
            if log.broken is None:
                await log.news()
                continue
            if (left := self._left()) <= 0:
                raise log.broken()
            with suppress(TimeoutError):
                async with time_limit(left):
                    await log.news()
        if self._stopped is not None:
            raise self._stopped()

    def _left(self) -> float:
        """Return how long it waits yet for a device that is away, in seconds."""
        since = self._log.broken_at
        return 0.0 if since is None else since + self.retry_for - time.monotonic()
