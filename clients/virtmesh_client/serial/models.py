"""What the serial library returns: plain values, times in seconds, places in bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Wait = Literal["sent", "taken"]
"""When a call that writes returns: on its way, or off the line (received, or overrun)."""
FlowName = Literal["wait", "none"]
"""Whether a writer waits for room, or overruns the receiver."""
ErrorName = Literal["parity", "framing", "break"]
"""What a line can do to a character."""


@dataclass(frozen=True)
class Position:
    """A place in what the machine sends: offsets belong to one life of the service, its epoch.

    An empty epoch is the present one.
    """

    offset: int
    epoch: str = ""


OLDEST = Position(0)
"""The oldest byte that is kept."""


@dataclass(frozen=True)
class Lines:
    """The modem lines that the far end drives. True is asserted."""

    cts: bool
    dsr: bool
    ri: bool
    dcd: bool


@dataclass(frozen=True)
class PortLines:
    """The lines that the machine drives, and whether it sends a break."""

    dtr: bool
    rts: bool
    out1: bool
    out2: bool
    break_sent: bool


@dataclass(frozen=True)
class LineFormat:
    """How the driver has set the port; `baud` is 0 when the divisor is."""

    baud: int
    data_bits: int
    parity: str
    """"N", "O", "E", "M" (mark) or "S" (space)."""
    stop_bits: float

    def __str__(self) -> str:
        return f"{self.baud} {self.data_bits}{self.parity}{self.stop_bits:g}"


@dataclass(frozen=True)
class SerialInfo:
    """The state of a serial port."""

    name: str
    format: LineFormat
    port_lines: PortLines
    lines: Lines
    paced: bool
    epoch: str
    scrollback_offset: int
    """Offset of the oldest byte that is kept."""
    output_offset: int
    """Offset of the next byte."""
    scrollback_bytes: int
    waiting_bytes: int
    waiting_bytes_max: int
    watchers: int
    attached: bool


@dataclass(frozen=True)
class SerialStats:
    """Counters of a serial port since its service started (virtmesh.uart.v1.GetStatsResponse)."""

    received: int
    transmitted: int
    overruns: int
    parity_errors: int
    framing_errors: int
    breaks: int
    breaks_sent: int
    discarded: int
    transmit_overruns: int
    waiting_bytes: int
    refused_bytes: int
    watchers_cut: int
    unattended_bytes: int


@dataclass(frozen=True)
class Sent:
    """What became of the input of one call."""

    characters: int
    """Characters sent; a break counts as one."""
    outcome: Wait
    overrun: int = 0
    """Those lost to an overrun, as far as is known: of all that this terminal sent meanwhile."""


@dataclass(frozen=True)
class Output:
    """What the machine sent."""

    offset: int
    data: bytes


@dataclass(frozen=True)
class Gap:
    """Bytes before `offset` that this client did not get: the scrollback holds them no more."""

    offset: int
    missed_bytes: int


@dataclass(frozen=True)
class Restarted:
    """The service began a new life: offsets begin anew, at `offset`, in this epoch."""

    epoch: str
    offset: int


@dataclass(frozen=True)
class Gone:
    """The connection or the service is gone; the client tries again by itself."""

    reason: str
    uncertain: int
    """Characters that were under way to the machine: they may have arrived, or not."""


@dataclass(frozen=True)
class Back:
    """The connection is back; output goes on where it ended."""


Event = Output | Gap | Restarted | Gone | Back | PortLines | LineFormat
"""What a terminal learns, in order."""
