"""The line: what is under way from the far end to the chip, and who is told what the chip sends.

Unpaced, a character arrives the moment there is room for it. Paced, each takes its time. What a
writer that does not look sends (Flow.NONE) arrives all the same: unpaced, it waits only while the
interrupt line is asserted, for a driver that is about to read; a driver that does nothing for
PATIENCE_SECONDS is not waited for any more, until there is room again.

Everything runs on the event loop's thread.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from virtmesh.uart.port import LINE_LIMIT, FarLines, Flow, LineError, Port
from virtmesh_common.uart.errors import LineFull

if TYPE_CHECKING:
    from virtmesh.uart.chip.clock import Timeline
    from virtmesh.uart.port import LineFormat, PortLines, Terminal, Writer

PATIENCE_SECONDS = 1.0
"""How long the line waits for a driver that has been interrupted and does nothing."""
LOW_WATER = LINE_LIMIT // 2
"""Characters on the line at which writers that wait are let on it again."""
TURN = LINE_LIMIT // 4
"""Most characters that one of several waiting writers puts on the line in its turn."""
BREAK = b"\0"
"""The one character that a break is received as (PC16550D, 8.4, bit 4)."""


class PacedPort(Port, Protocol):
    """The chip, with the time that a character takes."""

    @property
    def character_seconds(self) -> float | None:
        """Time of a character: 0 when the line is not paced, None when it stands still."""


@dataclass(eq=False)
class Parcel:
    """Characters that one writer sent in the same way."""

    data: bytes
    error: LineError
    flow: Flow
    writer: Writer | None
    gone: int = 0
    """How many have left the line."""

    @property
    def left(self) -> int:
        """How many are still on the line."""
        return len(self.data) - self.gone

    def take(self, count: int) -> bytes:
        """Take the next characters, at most so many."""
        taken = self.data[self.gone : self.gone + count]
        self.gone += len(taken)
        return taken


class SerialLine:
    """The line of one port. Implements virtmesh.uart.port.Line."""

    def __init__(self, port: PacedPort, timeline: Timeline) -> None:
        self._port = port
        self._timeline = timeline
        self._arrival = timeline.alarm(self._arrive)
        self._patience = timeline.alarm(self._lose_patience)
        self._impatient = False
        self._last_progress = 0.0
        self._parcels: deque[Parcel] = deque()
        self._unheeding = 0
        """Parcels of writers that do not look (Flow.NONE)."""
        self._turns: deque[asyncio.Future[None]] = deque()
        """Writers that wait for room; the first one's turn may have come."""
        self._terminals: list[Terminal] = []
        self.lines = FarLines()
        self.waiting = 0
        self.attached = False
        """True while a driver is attached."""
        self.refused_bytes = 0
        self.unattended_bytes = 0

    @property
    def port(self) -> Port:
        """The chip."""
        return self._port

    # -- The far end ----------------------------------------------------------------------------

    async def send(
        self,
        data: bytes,
        *,
        error: LineError = LineError.NONE,
        flow: Flow = Flow.WAIT,
        writer: Writer | None = None,
    ) -> None:
        """Put input on the line, as soon as there is room; a break takes no data.

        Cancelled, it leaves on the line what is there. Writers are served in turn.
        """
        rest = BREAK if error is LineError.BREAK else data
        while rest:
            most = LINE_LIMIT - self.waiting
            if self._turns or not most:
                most = await self._turn()
            self._put(Parcel(rest[:most], error, flow, writer))
            rest = rest[most:]

    def send_now(
        self, data: bytes, *, error: LineError = LineError.NONE, flow: Flow = Flow.WAIT
    ) -> None:
        """Put all of the input on the line at once. Errors: LineFull."""
        data = BREAK if error is LineError.BREAK else data
        room = 0 if self._turns else LINE_LIMIT - self.waiting
        if len(data) > room:
            self.refused_bytes += len(data)
            raise LineFull(
                f"{len(data)} characters do not fit: the line has room for {room} of"
                f" {LINE_LIMIT}; send them in parts, or on a stream, which waits",
                room_bytes=room,
            )
        if data:
            self._put(Parcel(data, error, flow, None))

    def set_lines(self, lines: FarLines) -> None:
        """Set the modem lines of the far end."""
        self.lines = lines
        self._port.set_lines(lines)

    def connect(self, terminal: Terminal) -> None:
        """Tell a terminal what the machine does from now on."""
        self._terminals.append(terminal)

    # -- The chip -------------------------------------------------------------------------------

    def pump(self) -> None:
        """Deliver what can be: something has changed in the chip, or there is new input."""
        if self._parcels:
            if self._port.character_seconds == 0:
                self._flow()
            else:
                self._begin()

    @property
    def steady(self) -> bool:
        """True when what is on the line waits for room, now and as long as the chip is read.

        While the interrupt line is asserted and a receiver is full, it is asserted until the last
        character has left the line.
        """
        return not self._unheeding or self._port.interrupting

    def draw(self, limit: int) -> bytes:
        """Take characters off an unpaced line for a reader that takes them at once.

        At most `limit`, and none from the first one with an error on.
        """
        drawn = bytearray()
        while self._parcels and len(drawn) < limit:
            parcel = self._parcels[0]
            if parcel.error is not LineError.NONE:
                break
            taken = parcel.take(limit - len(drawn))
            drawn += taken
            self._left(parcel, len(taken), 0)
        return bytes(drawn)

    def sent(self, characters: bytes) -> None:
        """Tell the terminals what the machine has sent."""
        for terminal in self._terminals:
            terminal.output(characters)

    def port_lines_changed(self, lines: PortLines) -> None:
        """Tell the terminals which lines the machine has moved."""
        for terminal in self._terminals:
            terminal.port_lines_changed(lines)

    def format_changed(self, line_format: LineFormat) -> None:
        """Tell the terminals the format that the driver has set."""
        for terminal in self._terminals:
            terminal.format_changed(line_format)

    # -- Unpaced --------------------------------------------------------------------------------

    def _flow(self) -> None:
        """Deliver until the chip has no room, or the line is empty."""
        while self._parcels:
            parcel = self._parcels[0]
            count = self._deliverable(parcel)
            if not count:
                return
            self._deliver(parcel, count)
        self._patience.cancel()

    def _deliverable(self, parcel: Parcel) -> int:
        """Return how many characters of a parcel arrive now."""
        if room := self._port.room:
            self._impatient = False
            self._last_progress = self._timeline.now
            return min(room, parcel.left)
        if parcel.flow is Flow.WAIT:
            return 0
        if self._port.interrupting and not self._impatient:
            if not self._patience.is_set:
                self._last_progress = self._timeline.now
                self._patience.set_at(self._last_progress + PATIENCE_SECONDS)
            return 0
        return parcel.left

    def _lose_patience(self) -> None:
        """Go on without a driver that does nothing."""
        end = self._last_progress + PATIENCE_SECONDS
        if end > self._timeline.now:
            self._patience.set_at(end)
            return
        self._impatient = True
        self.pump()

    # -- Paced ----------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Begin the next character, unless one is under way."""
        seconds = self._port.character_seconds
        if self._arrival.is_set or not self._parcels or seconds is None:
            return
        if self._parcels[0].flow is Flow.NONE or self._port.room:
            self._arrival.set(seconds)

    def _arrive(self) -> None:
        """Complete a character; one that its writer would not have sent by now waits on."""
        parcel = self._parcels[0]
        if parcel.flow is Flow.NONE or self._port.room:
            self._deliver(parcel, 1)
            self._begin()

    # -- Inside ---------------------------------------------------------------------------------

    def _deliver(self, parcel: Parcel, count: int) -> None:
        """Hand characters to the chip."""
        characters = parcel.take(count)
        if parcel.error is LineError.NONE:
            lost = self._port.receive(characters)
        else:
            lost = sum(self._port.receive_broken(one, parcel.error) for one in characters)
        self._left(parcel, count, lost)

    def _left(self, parcel: Parcel, count: int, lost: int) -> None:
        """Account for characters that have left the line."""
        self.waiting -= count
        if not parcel.left:
            self._parcels.popleft()
            self._unheeding -= parcel.flow is Flow.NONE
        if parcel.writer is not None:
            parcel.writer.taken(count, lost)
        self._let_on()

    def _put(self, parcel: Parcel) -> None:
        """Put a parcel on the line, which has room for it."""
        self.waiting += parcel.left
        if not self.attached:
            self.unattended_bytes += parcel.left
        self._parcels.append(parcel)
        self._unheeding += parcel.flow is Flow.NONE
        self.pump()

    async def _turn(self) -> int:
        """Wait until there is room and all who waited before have had their turn.

        Return how many characters may be put on the line now. Nobody else takes the room of a turn:
        `send` waits while there are turns, and `send_now` refuses.
        """
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._turns.append(turn)
        try:
            await turn
        finally:
            self._turns.remove(turn)
            # The next one's turn comes when this one has put what it has, or has given up.
            asyncio.get_running_loop().call_soon(self._let_on)
        room = LINE_LIMIT - self.waiting
        return min(TURN, room) if self._turns else room

    def _let_on(self) -> None:
        """Let the writer that has waited longest on the line, once there is room for a turn."""
        if self._turns and self.waiting <= LOW_WATER and not self._turns[0].done():
            self._turns[0].set_result(None)
