"""The latest events of a machine, asked for again and again: for who shows them as they come.

A reader that is slower than the recorders gets the newest events, and is told how many are left
out; it has no backlog, and no stream of its own.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from virtmesh_client.trace.events import BACK, GONE, LOST, Event, Source, read_source
from virtmesh_client.trace.merge import Clock, LiveMerge
from virtmesh_client.trace.reader import (
    COMES_BACK,
    Place,
    ask_page,
    describe,
    make_notice,
    places,
    take_page,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from virtmesh_client.channel import KernelChannel

FIRST_EVENTS = 4096
"""Most events of the past of a recorder that the first look takes."""
LOOK_EVENTS = 512
"""Most events of a recorder that a later look takes."""
WAIT_SECONDS = 0.3
"""How long events wait for earlier ones of other recorders: longer than a look lasts."""


@dataclass
class Reading:
    """How far one recorder is read."""

    source: Source | None = None
    following: int = 0
    gone: bool = field(default=False)


class LatestEvents:
    """Looks at the recorders of devices. Use it from one thread at a time."""

    def __init__(self, channel: KernelChannel) -> None:
        self._channel = channel
        self._readings: dict[Place, Reading] = {}
        self._clock = Clock()
        self._live = LiveMerge(self._clock, WAIT_SECONDS)

    def time_ns(self, event: Event) -> int:
        """Return when an event was, by the first source's CLOCK_MONOTONIC."""
        return self._clock.time(event)

    def look(self, devices: Sequence[str]) -> list[Event]:
        """Return what was recorded since the last look and has its turn, by time.

        Errors: what ends a call for good.
        """
        wanted = places(devices)
        self._readings = {place: self._readings.get(place, Reading()) for place in wanted}
        for place, reading in self._readings.items():
            self._live.add(self._read(place, reading), time.monotonic())
        return list(self._live.ready(time.monotonic()))

    def _read(self, place: Place, reading: Reading) -> Iterable[Event]:
        """Read one recorder."""
        try:
            return list(self._pages(place, reading))
        except COMES_BACK as error:
            if reading.gone:
                return ()
            reading.gone = True
            return [make_notice(place, GONE, error.message, reading.source)]

    def _pages(self, place: Place, reading: Reading) -> Iterator[Event]:
        """Read the newest page. Errors: COMES_BACK."""
        response = ask_page(self._channel, place, reading.following, LOOK_EVENTS)
        known = reading.source
        if known is None or response.source.run_id != known.run_id:
            source = read_source(response.source, describe(self._channel, place))
            reading.source, reading.following, limit = source, 0, FIRST_EVENTS
        else:
            source, limit = known, LOOK_EVENTS
        if reading.gone:
            reading.gone = False
            yield make_notice(place, BACK, "", source)
        position = response.position
        begin = max(reading.following, position.next_sequence - limit, position.oldest_sequence)
        skipped = begin - reading.following if known is source else 0
        if begin != reading.following or limit != LOOK_EVENTS:
            response = ask_page(self._channel, place, begin, limit)
        if not response.page.times_ns or response.source.run_id != source.run_id:
            return
        if skipped > 0:
            lost = make_notice(place, LOST, "", source)
            yield replace(lost, value=skipped, time_ns=response.page.times_ns[0])
        for event in take_page(source, response.page):
            if event.kind != LOST or not skipped:
                yield event
        reading.following = response.page.next_sequence
