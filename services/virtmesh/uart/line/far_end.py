"""The far end of the line: what the machine has sent, and who watches it.

A watcher is an offset into the scrollback, so a slow watcher costs no memory. When the scrollback
drops the byte at that offset, the watcher is cut off; the other watchers go on. All of this runs on
the event loop's thread, so that no step is interrupted; only the log file has a thread of its own.
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
    """One client that receives output. `news` is set whenever there may be something to send."""

    offset: int
    """Offset of the first byte that the client was not sent."""
    news: asyncio.Event
    port_lines: PortLines | None = None
    """The latest lines, if the client was not told of them; else None."""
    line_format: LineFormat | None = None
    """The latest format, if the client was not told of it; else None."""
    cut: bool = False
    """True once the scrollback does not hold the byte at `offset` any more."""


class FarEnd:
    """What is plugged into the port. Implements virtmesh.uart.port.PortListener.

    `scrollback_bytes` is the size of the scrollback. All output is written to `log_file`, if any.
    """

    def __init__(
        self,
        line: Line,
        scrollback_bytes: int = SCROLLBACK_BYTES,
        log_file: LogFile | None = None,
    ) -> None:
        self.line = line
        self.epoch = secrets.token_hex(8)
        """Random name of this start of the service; offsets begin at 0 with it."""
        self.scrollback = Scrollback(scrollback_bytes)
        self.watchers_cut = 0
        self._log_file = log_file
        self._watchers: set[Watcher] = set()
        line.connect(self)

    @property
    def watchers(self) -> int:
        """Number of watchers."""
        return len(self._watchers)

    @property
    def log_lost_bytes(self) -> int:
        """Bytes of output that are missing from the log file."""
        return self._log_file.lost_bytes if self._log_file else 0

    def close(self) -> None:
        """Write the rest to the log file and close it. May wait for the disk."""
        if self._log_file:
            self._log_file.close()

    # -- Watchers -------------------------------------------------------------------------------

    def begin(self, start: pb.Start) -> Beginning:
        """Return where the output of a stream begins, as `start` asks. Errors: BadValue."""
        kept = self.scrollback
        wanted = start.offset if start.HasField("offset") else None
        if wanted is None:
            tail = start.tail_bytes if start.HasField("tail_bytes") else 0
            return Beginning(max(kept.first, kept.end - tail))
        if start.HasField("tail_bytes"):
            raise BadValue("the start has both an offset and tail_bytes: send one of them")
        if start.epoch and start.epoch != self.epoch:
            # The service has started anew: the client has seen none of this output.
            return Beginning(kept.first, missed_bytes=kept.first, restarted=True)
        if wanted > kept.end:
            raise BadValue(
                f"offset {wanted} is past the output, which ends at offset {kept.end}: begin there"
            )
        offset = max(wanted, kept.first)
        return Beginning(offset, missed_bytes=offset - wanted)

    def watch(self, offset: int, news: asyncio.Event) -> Watcher:
        """Register a watcher that begins at an offset which the scrollback holds."""
        watcher = Watcher(offset, news)
        self._watchers.add(watcher)
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """Remove a watcher. Does nothing if it is removed already."""
        self._watchers.discard(watcher)

    # -- From the machine -----------------------------------------------------------------------

    def output(self, characters: bytes) -> None:
        """Append characters that the machine sent, and wake every watcher.

        Watchers read in a later turn of the event loop.
        """
        self.scrollback.append(characters)
        if self._log_file:
            self._log_file.append(characters)
        oldest = self.scrollback.last_chance
        for watcher in tuple(self._watchers):
            watcher.news.set()
            if watcher.offset < oldest:
                self._cut(watcher)

    def port_lines_changed(self, lines: PortLines) -> None:
        """Tell the watchers the new state of the lines that the machine drives."""
        for watcher in self._watchers:
            watcher.port_lines = lines
            watcher.news.set()

    def format_changed(self, line_format: LineFormat) -> None:
        """Tell the watchers the new format of the line, which the driver has set."""
        for watcher in self._watchers:
            watcher.line_format = line_format
            watcher.news.set()

    def _cut(self, watcher: Watcher) -> None:
        """Cut off a watcher that is too slow."""
        watcher.cut = True
        self._watchers.remove(watcher)
        self.watchers_cut += 1
        log.info("a slow watcher was cut off", offset=watcher.offset)
