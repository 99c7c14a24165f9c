"""What the driver sends to an input device: lights, sounds, repeat settings, and who watches them.

An event that the device doesn't have is counted and goes no further: a driver may send anything.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from virtmesh.input.checks import DRIVERS
from virtmesh_common.errors import RingCorrupt, WatcherTooSlow
from virtmesh_common.evdev import TYPES
from virtmesh_common.input.spec import STATUSQ

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh_native import Interrupt

    from virtmesh.input.held_keys import Event
    from virtmesh.input.personality import Personality
    from virtmesh.input.rings import StatusRing

log = structlog.get_logger(__name__)

EV_LED = TYPES["EV_LED"]
BACKLOG_MAX = 1024
"""Most packets that a watcher may be behind."""
TAKE_MAX = 1024
"""Chains taken in one look at the queue: the event loop has other things to do."""


@dataclass(frozen=True)
class Sent:
    """One packet of the driver, and the lights that are on after it."""

    sequence: int
    events: tuple[Event, ...]
    leds_on: tuple[int, ...]


@dataclass(eq=False)
class Watcher:
    """Somebody who gets every packet."""

    backlog: deque[Sent] = field(default_factory=deque)
    cut_off: int | None = None
    """Number of the first packet that found no room, for one who did not keep up."""
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self) -> Sent | None:
        """Wait for the next packet; None when it has to look around. Errors: WatcherTooSlow."""
        if not self.backlog:
            if self.cut_off is not None:
                raise WatcherTooSlow(
                    f"more than {BACKLOG_MAX} packets behind: cut off before packet {self.cut_off}",
                    sequence=self.cut_off - 1,
                )
            self.news.clear()
            await self.news.wait()
        return self.backlog.popleft() if self.backlog else None


class Output:
    """The status queue of a device, its lights, and its watchers."""

    def __init__(self, personality: Personality, interrupt: Interrupt) -> None:
        self.packets = 0
        """Packets of the driver; the number of the last one."""
        self.events = 0
        """Events of the driver that the device has."""
        self.unknown = 0
        """Events of the driver that the device doesn't have."""
        self._known = {
            (kind, code)
            for kind, codes in personality.codes.items()
            if kind in DRIVERS
            for code in codes
        }
        self._interrupt = interrupt
        self._ring: StatusRing | None = None
        self._malformed_before = 0
        self._next_pump: asyncio.Handle | None = None
        self._leds: set[int] = set()
        self._watchers: set[Watcher] = set()

    @property
    def leds_on(self) -> tuple[int, ...]:
        """LED_* codes of the lights that are on, ascending."""
        return tuple(sorted(self._leds))

    @property
    def malformed(self) -> int:
        """Chains of the status queue without an event."""
        return self._malformed_before + (self._ring.malformed if self._ring else 0)

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
        """Have every watcher look around."""
        for watcher in self._watchers:
            watcher.news.set()

    def start(self, ring: StatusRing) -> None:
        """Listen to a driver."""
        self._ring = ring
        self.pump()

    def stop(self) -> None:
        """Forget the driver."""
        self._malformed_before = self.malformed
        self._ring = None

    def lights_off(self) -> None:
        """Turn every light off, as if the driver had: it is gone."""
        events = tuple((EV_LED, led, 0) for led in self.leds_on)
        if events:
            self._leds.clear()
            self._publish(events)

    def pump(self) -> None:
        """Take what the driver sent."""
        ring = self._ring
        if ring is None:
            return
        try:
            for event in ring.take(TAKE_MAX):
                self._take(event)
            more = ring.wake_me()
        except RingCorrupt as error:
            log.warning("the driver broke the status queue", error=error.message)
            self.stop()
            self._interrupt.set_fault(f"status queue: {error.message}")
            return
        if ring.needs_interrupt():
            self._interrupt.raise_used(STATUSQ)
        if more and self._next_pump is None:
            self._next_pump = asyncio.get_running_loop().call_soon(self._pump_again)

    def _pump_again(self) -> None:
        """Go on after the event loop has had its turn."""
        self._next_pump = None
        self.pump()

    def _take(self, event: Event) -> None:
        """Obey an event of the driver."""
        kind, code, value = event
        if (kind, code) not in self._known:
            self.unknown += 1
            return
        self.events += 1
        if kind == EV_LED:
            (self._leds.add if value else self._leds.discard)(code)
        self._publish((event,))

    def _publish(self, events: tuple[Event, ...]) -> None:
        """Give a packet its number, and to every watcher."""
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
