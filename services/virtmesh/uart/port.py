"""The seam inside the serial device: between the chip, the line, and the far end.

    service.py (gRPC: terminals)  <->  line.py (what is under way)  <->  chip.py (the NS16550A)

The chip knows characters and modem lines; the line knows time, flow and room; the service knows
clients. All of it runs on the event loop's thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

LINE_LIMIT = 64 << 10
"""Most characters that wait on the line for the receiver."""


class LineError(Enum):
    """What a line does to a character (virtmesh.uart.v1.LineError)."""

    NONE = 0
    PARITY = 1
    FRAMING = 2
    BREAK = 3


class Flow(Enum):
    """Whether a writer waits for room (virtmesh.uart.v1.Flow)."""

    WAIT = 1
    NONE = 2


@dataclass(frozen=True)
class FarLines:
    """The modem lines that the far end drives. A plugged-in terminal asserts CTS, DSR and DCD."""

    cts: bool = True
    dsr: bool = True
    ri: bool = False
    dcd: bool = True


@dataclass(frozen=True)
class PortLines:
    """The lines that the machine drives."""

    dtr: bool = False
    rts: bool = False
    out1: bool = False
    out2: bool = False
    break_sent: bool = False


@dataclass(frozen=True)
class LineFormat:
    """How the driver has set the port; `baud` is 0 when the divisor is."""

    baud: int
    data_bits: int
    parity: str
    stop_half_bits: int


class Port(Protocol):
    """The chip, as the line sees it."""

    @property
    def room(self) -> int:
        """Characters that the receiver takes now without an overrun."""

    @property
    def interrupting(self) -> bool:
        """True while the interrupt line is asserted."""

    @property
    def format(self) -> LineFormat:
        """How the driver has set the port."""

    @property
    def port_lines(self) -> PortLines:
        """The lines that the machine drives."""

    def receive(self, characters: Sequence[int]) -> int:
        """Take characters from the line; return how many of them overran the receiver."""

    def receive_broken(self, character: int, error: LineError) -> bool:
        """Take a character with an error; True when it overran the receiver."""

    def set_lines(self, lines: FarLines) -> None:
        """Take the modem lines of the far end."""


class Terminal(Protocol):
    """Who is told what the machine does. Calls must not wait, or raise."""

    def output(self, characters: bytes) -> None:
        """Take characters that the machine has sent."""

    def port_lines_changed(self, lines: PortLines) -> None:
        """Take the lines that the machine has moved."""

    def format_changed(self, line_format: LineFormat) -> None:
        """Take the format that the driver has set."""


class Writer(Protocol):
    """Who sent input, and is told what becomes of it. Calls must not wait, or raise."""

    def taken(self, characters: int, overrun: int) -> None:
        """Learn that so many more characters have left the line, some lost to an overrun."""


class Line(Protocol):
    """The line, as the far end's service sees it (class SerialLine in line.py)."""

    lines: FarLines
    """The modem lines of the far end."""

    @property
    def port(self) -> Port:
        """The chip."""

    @property
    def waiting(self) -> int:
        """Characters on the line, waiting for the receiver; at most LINE_LIMIT."""

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

    def send_now(
        self, data: bytes, *, error: LineError = LineError.NONE, flow: Flow = Flow.WAIT
    ) -> None:
        """Put all of the input on the line at once. Errors: LineFull."""

    def set_lines(self, lines: FarLines) -> None:
        """Set the modem lines of the far end."""

    def connect(self, terminal: Terminal) -> None:
        """Tell a terminal what the machine does from now on."""
