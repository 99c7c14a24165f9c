"""Clients that follow the output of the serial line by its offsets."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from tests.soak.actors.actor import Actor, Follower
from virtmesh_client.serial.models import Gap, Output, Position, Restarted

if TYPE_CHECKING:
    from tests.soak.actors.actor import World
    from virtmesh_client.serial.models import SerialEvent
    from virtmesh_client.serial.watch import SerialWatch

KEPT = 256 << 10
"""Bytes of output that are kept to be compared, of the epoch that goes on."""


@dataclass
class Line:
    """The output of a line as its readers saw it: all must see the same."""

    epoch: str = ""
    base: int = 0
    data: bytearray = field(default_factory=bytearray)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, epoch: str, offset: int, data: bytes) -> str:
        """Compare bytes with what another reader saw there, and keep them; say what is wrong."""
        with self.lock:
            if epoch != self.epoch:
                self.epoch, self.base, self.data = epoch, offset, bytearray()
            end = self.base + len(self.data)
            first, last = max(offset, self.base), min(offset + len(data), end)
            if first < last:
                mine = data[first - offset : last - offset]
                if mine != self.data[first - self.base : last - self.base]:
                    return f"two readers saw different bytes from {first} to {last} of {epoch}"
            if offset > end:
                self.base, self.data = offset, bytearray(data)
            elif offset + len(data) > end:
                self.data += data[end - offset :]
            if len(self.data) > 2 * KEPT:
                self.base += len(self.data) - KEPT
                del self.data[:-KEPT]
        return ""

    def some_position(self, part: float) -> Position | None:
        """Return a position in what is kept; None if nothing is."""
        with self.lock:
            if not self.epoch:
                return None
            return Position(self.base + int(part * len(self.data)), self.epoch)


class Reader(Actor):
    """Reads the line. Number 0 stays; others come and go, and begin somewhere before."""

    role = "reader"

    def __init__(self, world: World, device: str, number: int, line: Line) -> None:
        super().__init__(world, device, number)
        self.line = line
        self.bytes = 0
        """Output of the round."""
        self._watch: SerialWatch | None = None
        self._follower: Follower | None = None
        self._epoch = ""
        self._next = 0

    def step(self) -> None:
        """Read for a while."""
        begin = self.journal.now()
        self.operation = "watch"
        if self._follower is not None and not self._follower.is_alive():
            self.raise_end(self._follower)
            self.close()
        if self._watch is None:
            stays = self.number_is_first
            since = None if stays else self.line.some_position(self.chance.random())
            self._watch = self.machine.serial(self.device).watch(since=since)
            self._epoch = self._watch.position.epoch
            # From now on, where the first byte is, its event says: some may have come already.
            is_known = since is not None and since.epoch == self._epoch
            self._next = since.offset if since is not None and is_known else -1
            self._follower = Follower(self, self._watch, self._take)
        self.gate.sleep(self.chance.uniform(0.2, 2.0))
        self.did("watch", begin)
        if not self.number_is_first:
            self.close()

    @property
    def number_is_first(self) -> bool:
        """True of the reader that stays."""
        return self.name.startswith("reader 0")

    def end(self) -> None:
        """Close the stream."""
        self.close()

    def failed(self, error: Exception) -> None:
        """Begin with a new stream."""
        self.close()

    def close(self) -> None:
        """End the stream."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()
        if self._follower is not None:
            self._follower.join()
            self._follower = None

    def _take(self, item: object) -> None:
        event = cast("SerialEvent", item)
        if isinstance(event, Restarted):
            self._epoch, self._next = event.epoch, event.offset
        elif isinstance(event, Gap):
            self.wrong(
                f"{event.missed_bytes} bytes before {event.offset} of {self._epoch} are missing"
            )
            self._next = event.offset
        elif isinstance(event, Output):
            if event.offset != self._next >= 0:
                self.wrong(
                    f"output goes on at {event.offset}, not at {self._next}, of {self._epoch}"
                )
            self._next = event.offset + len(event.data)
            self.bytes += len(event.data)
            if wrong := self.line.put(self._epoch, event.offset, event.data):
                self.wrong(wrong)
