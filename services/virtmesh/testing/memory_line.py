"""A serial line in memory, and the machine at its end: for the far end's service, without a chip.

    line = MemoryLine()
    far_end = FarEnd(line)
    line.say(b"hello")          # the machine sends
    line.port.take(100)         # the machine makes room for 100 characters
    await line.heard(3)         # what the machine has received, once it is three characters

Characters are received the moment there is room.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from virtmesh.uart.line.far_input import FarInput
from virtmesh.uart.port import FarLines, Flow, LineError, LineFormat, PortLines

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh.uart.line.input_queue import QueuedInput
    from virtmesh.uart.port import PortListener


@dataclass(eq=False)
class MemoryPort:
    """The machine's receiver, with as much room as the test says: at first without bounds."""

    room: int = 1 << 40
    lines: FarLines = field(default_factory=FarLines)
    """The modem lines that the far end has set."""
    heard: bytearray = field(default_factory=bytearray)
    """Every character that was received, bad ones among them."""
    errors: list[tuple[int, LineError]] = field(default_factory=list)
    """Place in `heard` and error of each bad one."""
    changed: Callable[[], None] = lambda: None
    """Called when there is more room."""

    def take(self, room: int) -> None:
        """Make room for so many characters."""
        self.room = room
        self.changed()

    def receive(self, characters: bytes, error: LineError) -> int:
        """Take characters; return how many overran."""
        kept = characters[: self.room]
        if error is not LineError.NONE:
            self.errors += [(len(self.heard) + index, error) for index in range(len(kept))]
        self.heard += kept
        self.room -= len(kept)
        return len(characters) - len(kept)


class MemoryLine(FarInput):
    """A line without time. Implements virtmesh.uart.port.Line."""

    def __init__(self, port: MemoryPort | None = None) -> None:
        super().__init__()
        self.port = port or MemoryPort()
        self.port.changed = self._deliver
        self.lines = FarLines()
        self.format = LineFormat(115200, 8, "N", 2)
        self.port_lines = PortLines()
        self._listeners: list[PortListener] = []
        self._moved = asyncio.Event()

    # -- The machine's side -----------------------------------------------------------------------

    def say(self, data: bytes) -> None:
        """Send as the machine."""
        for listener in self._listeners:
            listener.output(data)

    def move(self, lines: PortLines) -> None:
        """Set the lines of the machine."""
        self.port_lines = lines
        for listener in self._listeners:
            listener.port_lines_changed(lines)

    def set_format(self, line_format: LineFormat) -> None:
        """Set the port, as a driver."""
        self.format = line_format
        for listener in self._listeners:
            listener.format_changed(line_format)

    async def heard(self, count: int) -> bytes:
        """Wait until the machine has received so many characters; return all of them."""
        while len(self.port.heard) < count:
            await self.moved()
        return bytes(self.port.heard)

    async def moved(self) -> None:
        """Wait until something is put on the line, or leaves it."""
        self._moved.clear()
        await self._moved.wait()

    # -- The far end's side -----------------------------------------------------------------------

    @property
    def refused(self) -> int:
        """Characters that `send_now` refused."""
        return self.refused_bytes

    def set_lines(self, lines: FarLines) -> None:
        """Set the modem lines of the far end."""
        self.lines = lines
        self.port.lines = lines

    def connect(self, listener: PortListener) -> None:
        """Tell a listener what the machine does."""
        self._listeners.append(listener)

    def _put(self, new: QueuedInput) -> None:
        """Put characters on the line."""
        self._queue.append(new)
        self._moved.set()
        self._deliver()

    def _deliver(self) -> None:
        """Let the machine receive what it has room for, or what does not wait for room."""
        while (first := self._queue.first) is not None:
            waits = first.flow is Flow.WAIT
            count = min(first.left, self.port.room) if waits else first.left
            if not count:
                return
            characters = first.data[first.gone : first.gone + count]
            self._queue.drop(count, lost=self.port.receive(characters, first.error))
            self._moved.set()
