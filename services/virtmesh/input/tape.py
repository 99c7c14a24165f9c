"""What an input driver has received, packet by packet, and which keys that has left down.

A tape reads the log of the events, which all processes of the device share. So it can say, when a
process has gone, how much of what that was given has come through.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from virtmesh.input.event_log import END
from virtmesh_common.input.release import EV_KEY, RELEASED

if TYPE_CHECKING:
    from virtmesh.input.event_log import EventLog

STEP = 4096
"""Events that are read at a time."""


@dataclass
class Received:
    """Packets that have come, without their ends, and the events behind the last of them."""

    whole: list[list[int]] = field(default_factory=list)
    part: list[int] = field(default_factory=list)
    is_complete: bool = True
    """False if the log had lost some of it."""


class Tape:
    """Reads a log from where it is now."""

    def __init__(self, log: EventLog) -> None:
        self.down: set[int] = set()
        """EV_KEY codes that were pressed and not released, as far as it has read."""
        self._log = log
        self._at = log.count
        self._is_complete = True

    def begin(self) -> None:
        """Read what there is: what comes from now on is asked for."""
        self.rest()
        self._is_complete = True

    def skip(self, packets: int) -> int:
        """Read so many whole packets, or as many as there are; return their number."""
        skipped = 0
        while skipped < packets and (end := self._end_of_packet()) is not None:
            self._read(end)
            skipped += 1
        return skipped

    def rest(self) -> Received:
        """Read everything that has come."""
        received = Received()
        while (end := self._end_of_packet()) is not None:
            received.whole.append(self._read(end)[:-1])
        received.part = self._read(self._log.count)
        received.is_complete = self._is_complete
        return received

    def _end_of_packet(self) -> int | None:
        """Return where the next packet ends; None if its end has not come."""
        log = self._log
        if log.count - self._at > log.kept:
            self._at, self._is_complete = log.count - log.kept, False
        at = self._at
        while at < log.count:
            events, _ = log.slice(at, min(at + STEP, log.count))
            try:
                return at + events.index(END) + 1
            except ValueError:
                at += len(events)
        return None

    def _read(self, end: int) -> list[int]:
        """Read to a place that the log holds, and note what becomes of keys."""
        events, _ = self._log.slice(self._at, end)
        self._at = end
        for event in events:
            if event >> 48 == EV_KEY:
                code, value = event >> 32 & 0xFFFF, event & 0xFFFF_FFFF
                (self.down.discard if value == RELEASED else self.down.add)(code)
        return list(events)
