"""The words that chip, line and far end share, and the two seams between line and far end.

    service.py (gRPC)  ->  Line: input  ->  line/line.py (what is under way)  ->  chip/ (NS16550A)
    far_end.py (who watches)  <-  PortListener: output  <-  line/line.py  <-  chip/

The chip knows characters and modem lines. The line knows time, flow and room, and it alone moves
characters. The service knows clients. All of it runs on the event loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

LINE_LIMIT = 64 << 10
"""Most characters that wait on the line for the receiver."""

OnTaken = Callable[[int, int], None]
"""Tells a sender that so many more characters have left the line, and how many of those were lost
to an overrun. It must not wait, or raise."""


class LineError(Enum):
    """What a line does to a character (virtmesh.uart.v1.LineError)."""

    NONE = 0
    PARITY = 1
    FRAMING = 2
    BREAK = 3


class Flow(Enum):
    """Whether a sender waits for room (virtmesh.uart.v1.Flow)."""

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


class PortListener(Protocol):
    """Who is told what the machine does. Calls must not wait, or raise."""

    def output(self, characters: bytes) -> None:
        """Take characters that the machine has sent."""

    def port_lines_changed(self, lines: PortLines) -> None:
        """Take the lines that the machine has moved."""

    def format_changed(self, line_format: LineFormat) -> None:
        """Take the format that the driver has set."""


class Line(Protocol):
    """The line, as the far end sees it. Implemented by SerialLine (line.py) and MemoryLine."""

    lines: FarLines
    """The modem lines of the far end."""

    @property
    def format(self) -> LineFormat:
        """How the driver has set the port."""

    @property
    def port_lines(self) -> PortLines:
        """The lines that the machine drives."""

    @property
    def waiting(self) -> int:
        """Characters on the line, waiting for the receiver; at most LINE_LIMIT."""

    async def send(
        self,
        data: bytes,
        *,
        error: LineError = LineError.NONE,
        flow: Flow = Flow.WAIT,
        on_taken: OnTaken | None = None,
    ) -> None:
        """Put input on the line, as soon as there is room; a break takes no data.

        When it is cancelled, the part that is on the line stays there. Senders take turns.
        """

    def send_now(
        self, data: bytes, *, error: LineError = LineError.NONE, flow: Flow = Flow.WAIT
    ) -> None:
        """Put all of the input on the line at once. Errors: LineFull."""

    def set_lines(self, lines: FarLines) -> None:
        """Set the modem lines of the far end."""

    def connect(self, listener: PortListener) -> None:
        """Tell a listener what the machine does from now on."""
