"""A serial line in memory, and the port at its end: for the far end's service, without a chip.

    line = MemoryLine()
    far_end = FarEnd(line)
    line.say(b"hello")          # the machine sends
    line.port.take(100)         # the machine makes room for 100 characters

Characters are received the moment there is room.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from virtmesh.uart.port import LINE_LIMIT, FarLines, Flow, LineError, LineFormat, PortLines
from virtmesh_common.uart.errors import LineFull

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from virtmesh.uart.port import Terminal, Writer


@dataclass(eq=False)
class MemoryPort:
    """A receiver with as much room as the test says: at first without bounds."""

    room: int = 1 << 40
    interrupting: bool = False
    format: LineFormat = field(default_factory=lambda: LineFormat(115200, 8, "N", 2))
    port_lines: PortLines = field(default_factory=PortLines)
    lines: FarLines = field(default_factory=FarLines)
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

    def receive(self, characters: Sequence[int]) -> int:
        """Take characters; return how many overran."""
        kept = bytes(characters[: self.room])
        self.heard += kept
        self.room -= len(kept)
        return len(characters) - len(kept)

    def receive_broken(self, character: int, error: LineError) -> bool:
        """Take a bad character; True when it overran."""
        if not self.receive([character]):
            self.errors.append((len(self.heard) - 1, error))
            return False
        return True

    def set_lines(self, lines: FarLines) -> None:
        """Take the modem lines of the far end."""
        self.lines = lines


@dataclass(eq=False)
class Load:
    """Characters on the line."""

    data: bytes
    error: LineError
    flow: Flow
    writer: Writer | None


class MemoryLine:
    """A line without time. Implements virtmesh.uart.port.Line."""

    def __init__(self, port: MemoryPort | None = None) -> None:
        self.port = port or MemoryPort()
        self.port.changed = self._pump
        self.lines = FarLines()
        self.refused = 0
        """Bytes that `send_now` refused."""
        self._terminals: list[Terminal] = []
        self._loads: deque[Load] = deque()
        self._turn = asyncio.Lock()
        self._moved = asyncio.Event()

    # -- The machine's side -----------------------------------------------------------------------

    def say(self, data: bytes) -> None:
        """Send as the machine."""
        for terminal in self._terminals:
            terminal.output(data)

    def move(self, lines: PortLines) -> None:
        """Set the lines of the machine."""
        self.port.port_lines = lines
        for terminal in self._terminals:
            terminal.port_lines_changed(lines)

    def set_format(self, line_format: LineFormat) -> None:
        """Set the port, as a driver."""
        self.port.format = line_format
        for terminal in self._terminals:
            terminal.format_changed(line_format)

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
    def waiting(self) -> int:
        """Characters on the line."""
        return sum(len(load.data) for load in self._loads)

    async def send(
        self,
        data: bytes,
        *,
        error: LineError = LineError.NONE,
        flow: Flow = Flow.WAIT,
        writer: Writer | None = None,
    ) -> None:
        """Put input on the line, as soon as there is room."""
        data = b"\0" if error is LineError.BREAK else data
        async with self._turn:
            while data:
                room = LINE_LIMIT - self.waiting
                if room:
                    self._put(Load(data[:room], error, flow, writer))
                    data = data[room:]
                else:
                    await self.moved()

    def send_now(
        self, data: bytes, *, error: LineError = LineError.NONE, flow: Flow = Flow.WAIT
    ) -> None:
        """Put all of the input on the line at once. Errors: LineFull."""
        data = b"\0" if error is LineError.BREAK else data
        room = LINE_LIMIT - self.waiting
        if len(data) > room:
            self.refused += len(data)
            raise LineFull(
                f"the line has room for {room} bytes, not {len(data)}: send less, or wait",
                room_bytes=room,
            )
        self._put(Load(data, error, flow, None))

    def set_lines(self, lines: FarLines) -> None:
        """Set the modem lines of the far end."""
        self.lines = lines
        self.port.set_lines(lines)

    def connect(self, terminal: Terminal) -> None:
        """Tell a terminal what the machine does."""
        self._terminals.append(terminal)

    def _put(self, load: Load) -> None:
        """Put characters on the line."""
        self._loads.append(load)
        self._moved.set()
        self._pump()

    def _pump(self) -> None:
        """Let the machine receive what it has room for, or what does not look."""
        while self._loads:
            load = self._loads[0]
            count = (
                len(load.data) if load.flow is Flow.NONE else min(len(load.data), self.port.room)
            )
            if not count:
                return
            piece, load.data = load.data[:count], load.data[count:]
            if load.error is LineError.NONE:
                overrun = self.port.receive(piece)
            else:
                overrun = sum(self.port.receive_broken(one, load.error) for one in piece)
            if not load.data:
                self._loads.popleft()
            if load.writer is not None:
                load.writer.taken(count, overrun)
            self._moved.set()
