"""The far end of the line: what the machine has sent, and who watches it.

A watcher is an offset into the scrollback: one that reads slowly costs nothing. When its offset
falls out of the scrollback it is cut off, and nobody else notices. Everything but the log file's
thread runs on the event loop's thread, so that each step is one piece.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from virtmesh.uart.line.scrollback import SCROLLBACK_BYTES, Scrollback
from virtmesh_common.errors import BadValue

if TYPE_CHECKING:
    import asyncio

    from virtmesh.uart.line.log_file import LogFile
    from virtmesh.uart.port import Line, LineFormat, PortLines
    from virtmesh_common.api.uart.v1 import uart_pb2 as pb

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Beginning:
    """Where the output of a stream begins (virtmesh.uart.v1.Snapshot)."""

    offset: int
    missed_bytes: int = 0
    restarted: bool = False


@dataclass(eq=False)
class Watcher:
    """Somebody who is sent output. `news` is set whenever there may be something to send."""

    offset: int
    """First byte that it has not been sent."""
    news: asyncio.Event
    port_lines: PortLines | None = None
    """The latest lines that it has not been told."""
    line_format: LineFormat | None = None
    """The latest format that it has not been told."""
    cut: bool = False
    """True when its offset has left the scrollback."""


class FarEnd:
    """What is plugged into the port. Implements virtmesh.uart.port.PortListener.

    `scrollback_bytes` is the size of the scrollback; all output goes to `log_file` too.
    """

    def __init__(
        self,
        line: Line,
        scrollback_bytes: int = SCROLLBACK_BYTES,
        log_file: LogFile | None = None,
    ) -> None:
        self.line = line
        self.epoch = secrets.token_hex(8)
        """Name of this life of the service."""
        self.scrollback = Scrollback(scrollback_bytes)
        self.watchers_cut = 0
        self._log_file = log_file
        self._watchers: set[Watcher] = set()
        line.connect(self)

    @property
    def watchers(self) -> int:
        """How many watch."""
        return len(self._watchers)

    @property
    def log_lost_bytes(self) -> int:
        """Output that did not get into the log file, in bytes."""
        return self._log_file.lost_bytes if self._log_file else 0

    def close(self) -> None:
        """Complete the log file; may wait for the disk."""
        if self._log_file:
            self._log_file.close()

    # -- Watchers -------------------------------------------------------------------------------

    def begin(self, start: pb.Start) -> Beginning:
        """Find where a stream begins. Errors: BadValue."""
        kept = self.scrollback
        wanted = start.offset if start.HasField("offset") else None
        if wanted is None:
            tail = start.tail_bytes if start.HasField("tail_bytes") else 0
            return Beginning(max(kept.first, kept.end - tail))
        if start.HasField("tail_bytes"):
            raise BadValue("a stream begins at an offset or with the last bytes, not with both")
        if start.epoch and start.epoch != self.epoch:
            # All of this life is new to the client: what it misses is counted from its beginning.
            return Beginning(kept.first, missed_bytes=kept.first, restarted=True)
        if wanted > kept.end:
            raise BadValue(f"offset {wanted} is not yet written: the next one is {kept.end}")
        offset = max(wanted, kept.first)
        return Beginning(offset, missed_bytes=offset - wanted)

    def watch(self, offset: int, news: asyncio.Event) -> Watcher:
        """Register a watcher, from an offset that is kept."""
        watcher = Watcher(offset, news)
        self._watchers.add(watcher)
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """Forget a watcher, if it is there."""
        self._watchers.discard(watcher)

    # -- From the machine -----------------------------------------------------------------------

    def output(self, characters: bytes) -> None:
        """Keep what the machine has sent, and wake who watches: it looks on a later turn."""
        self.scrollback.append(characters)
        if self._log_file:
            self._log_file.append(characters)
        oldest = self.scrollback.last_chance
        for watcher in tuple(self._watchers):
            watcher.news.set()
            if watcher.offset < oldest:
                self._cut(watcher)

    def port_lines_changed(self, lines: PortLines) -> None:
        """Tell the watchers which lines the machine has moved."""
        for watcher in self._watchers:
            watcher.port_lines = lines
            watcher.news.set()

    def format_changed(self, line_format: LineFormat) -> None:
        """Tell the watchers the format that the driver has set."""
        for watcher in self._watchers:
            watcher.line_format = line_format
            watcher.news.set()

    def _cut(self, watcher: Watcher) -> None:
        """Cut a watcher off that is too slow."""
        watcher.cut = True
        self._watchers.remove(watcher)
        self.watchers_cut += 1
        log.info("cut off a watcher that did not keep up", offset=watcher.offset)
