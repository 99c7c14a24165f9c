"""Values that the serial library returns. Times are in seconds, offsets in bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Wait = Literal["sent", "taken"]
"""When a call that writes returns: when its input was sent, or when all of it has left the line
(the port received it, or it was lost to an overrun)."""
FlowName = Literal["wait", "none"]
"""Whether input waits for room in the receiver's FIFO, or overruns it."""
ErrorName = Literal["parity", "framing", "break"]
"""Errors that a character can have on the line."""


@dataclass(frozen=True)
class Position:
    """A position in the output of the machine. `Serial.position` returns it; `since` takes it.

    Example:
        with virtmesh_client.connect() as machine, machine.serial() as serial:
            position = serial.position
        assert position.offset >= 0
    """

    offset: int
    """Bytes since the service started."""
    epoch: str = ""
    """Identifier of the run of the service that counts them. Empty means the present run."""


OLDEST = Position(0)
"""Position of the oldest byte that the service still has."""


@dataclass(frozen=True)
class Lines:
    """The modem lines that the far end drives. True means asserted."""

    cts: bool
    dsr: bool
    ri: bool
    dcd: bool


@dataclass(frozen=True)
class PortLines:
    """The lines that the machine drives, and whether it sends a break. True means asserted."""

    dtr: bool
    rts: bool
    out1: bool
    out2: bool
    break_sent: bool


@dataclass(frozen=True)
class LineFormat:
    """The format that the driver has set. `baud` is 0 if the divisor is 0."""

    baud: int
    data_bits: int
    parity: str
    """"N", "O", "E", "M" (mark) or "S" (space)."""
    stop_bits: float

    def __str__(self) -> str:
        return f"{self.baud} {self.data_bits}{self.parity}{self.stop_bits:g}"


@dataclass(frozen=True)
class SerialInfo:
    """The state of a serial port.

    Example:
        with virtmesh_client.connect() as machine:
            info = machine.serial().info()
        assert info.format.data_bits == 8
    """

    name: str
    format: LineFormat
    port_lines: PortLines
    lines: Lines
    paced: bool
    """True if characters take the time that the baud rate says."""
    epoch: str
    """Identifier of this run of the service."""
    scrollback_offset: int
    """Offset of the oldest byte of output that the service still has."""
    output_offset: int
    """Offset of the next byte of output."""
    scrollback_bytes: int
    """Largest size of the kept output."""
    waiting_bytes: int
    """Input that waits for room in the receiver's FIFO."""
    waiting_bytes_max: int
    """Limit of `waiting_bytes`."""
    watchers: int
    """Number of clients that receive the output."""
    attached: bool
    """True while a driver is attached."""


@dataclass(frozen=True)
class SerialStats:
    """Counters of a serial port since its service started (virtmesh.uart.v1.GetStatsResponse).

    Example:
        with virtmesh_client.connect() as machine:
            stats = machine.serial().stats()
        assert stats.overruns == 0
    """

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
    """Result of a call that writes.

    Example:
        with virtmesh_client.connect() as machine, machine.serial() as serial:
            sent = serial.send_line("help")
        assert (sent.characters, sent.overrun) == (5, 0)
    """

    characters: int
    """Number of characters sent. A break counts as one."""
    outcome: Wait
    """What the call waited for: "sent" or "taken"."""
    overrun: int = 0
    """Number of characters lost to an overrun during the call. If several threads write through one
    terminal, it includes the characters of the others."""


@dataclass(frozen=True)
class Output:
    """Output of the machine."""

    offset: int
    """Position of the first byte, in bytes since the service started."""
    data: bytes


@dataclass(frozen=True)
class Gap:
    """Output before `offset` that this client did not receive and that is not kept any more."""

    offset: int
    missed_bytes: int


@dataclass(frozen=True)
class Restarted:
    """The service was restarted. Offsets count from 0 again; output continues at `offset`."""

    epoch: str
    offset: int


@dataclass(frozen=True)
class Disconnected:
    """The connection is lost. The client connects again by itself."""

    reason: str
    """Message of the error that ended the connection."""
    uncertain: int
    """Characters that were under way to the machine. They may or may not have arrived."""


@dataclass(frozen=True)
class Reconnected:
    """The connection works again. Output continues where it ended."""


SerialEvent = Output | Gap | Restarted | Disconnected | Reconnected | PortLines | LineFormat
"""The events of a terminal, in order."""
