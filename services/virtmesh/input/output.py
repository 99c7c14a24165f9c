"""What the driver sends to an input device (lights, sounds, repeat settings), and its watchers.

A driver may send anything: an event that the device does not have is only counted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from virtmesh.input.checks import DRIVER_TYPES
from virtmesh_common.errors import WatcherTooSlow
from virtmesh_common.evdev import TYPES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh.input.held_keys import Event
    from virtmesh.input.personality import Personality

EV_LED = TYPES["EV_LED"]
BACKLOG_MAX = 1024
"""Most packets that a watcher may be behind."""


@dataclass(frozen=True)
class Sent:
    """One numbered packet of the driver, and the LED_* codes of the lights that are on after it."""

    sequence: int
    events: tuple[Event, ...]
    leds_on: tuple[int, ...]


@dataclass(eq=False)
class Watcher:
    """A client that gets every packet."""

    backlog: deque[Sent] = field(default_factory=deque)
    cut_off: int | None = None
    """Number of the first packet that found no room in `backlog`; None while there is room."""
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self) -> Sent | None:
        """Wait for the next packet; return None after `wake_watchers`.

        Errors: WatcherTooSlow, when every packet before `cut_off` is read.
        """
        if not self.backlog:
            if self.cut_off is not None:
                raise WatcherTooSlow(
                    f"more than {BACKLOG_MAX} packets were not read in time: the stream ends before"
                    f" packet {self.cut_off}. Open another one, and read it as packets come",
                    sequence=self.cut_off - 1,
                )
            self.news.clear()
            await self.news.wait()
        return self.backlog.popleft() if self.backlog else None


class Output:
    """What the driver of one device sent: the lights that are on, and the watchers."""

    def __init__(self, personality: Personality) -> None:
        self.packets = 0
        """Packets of the driver; the number of the last one."""
        self.events = 0
        """Events of the driver that the device has."""
        self.unknown = 0
        """Events of the driver that the device does not have."""
        self._known = {
            (kind, code)
            for kind, codes in personality.codes.items()
            if kind in DRIVER_TYPES
            for code in codes
        }
        self._leds: set[int] = set()
        self._watchers: set[Watcher] = set()

    @property
    def leds_on(self) -> tuple[int, ...]:
        """LED_* codes of the lights that are on, ascending."""
        return tuple(sorted(self._leds))

    @contextmanager
    def watching(self) -> Iterator[Watcher]:
        """Register a watcher."""
        watcher = Watcher()
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.remove(watcher)

    def wake_watchers(self) -> None:
        """Let every watcher that waits return from `read`."""
        for watcher in self._watchers:
            watcher.news.set()

    def lights_off(self) -> None:
        """Turn every light off, as if the driver had done it: the driver is gone."""
        events = tuple((EV_LED, led, 0) for led in self.leds_on)
        if events:
            self._leds.clear()
            self._publish(events)

    def take(self, event: Event) -> None:
        """Execute an event of the driver."""
        kind, code, value = event
        if (kind, code) not in self._known:
            self.unknown += 1
            return
        self.events += 1
        if kind == EV_LED:
            (self._leds.add if value else self._leds.discard)(code)
        self._publish((event,))

    def _publish(self, events: tuple[Event, ...]) -> None:
        """Give a packet its number, and give it to every watcher."""
        self.packets += 1
        sent = Sent(self.packets, events, self.leds_on)
        for watcher in self._watchers:
            if watcher.cut_off is not None:
                continue
            if len(watcher.backlog) < BACKLOG_MAX:
                watcher.backlog.append(sent)
            else:
                watcher.cut_off = sent.sequence
            watcher.news.set()
