"""The modem lines: MCR, MSR and their loopback (PC16550D, 8.8, 8.9)."""

from __future__ import annotations

from virtmesh.uart.port import FarLines, PortLines
from virtmesh_common.uart.spec import Mcr, Msr

MCR_BITS = int(Mcr.DTR | Mcr.RTS | Mcr.OUT1 | Mcr.OUT2 | Mcr.LOOP)
"""Bits of MCR that the chip has; the others always read 0 (8.8)."""
BOTH_EDGES = int(Msr.DCTS | Msr.DDSR | Msr.DDCD)
"""Deltas that either edge of their line sets. TERI is set by the trailing edge only."""
DELTA_SHIFT = 4
"""Bits between a line's bit in MSR and its delta."""
LOOPED = ((Mcr.RTS, Msr.CTS), (Mcr.DTR, Msr.DSR), (Mcr.OUT1, Msr.RI), (Mcr.OUT2, Msr.DCD))
"""Each output (MCR), and the input (MSR) that it drives in loopback (8.8, bit 4)."""


class Modem:
    """The modem lines of both directions. `auto_flow`: MCR has AFE, as later chips do."""

    def __init__(self, *, auto_flow: bool) -> None:
        self._writable = MCR_BITS | (int(Mcr.AFE) if auto_flow else 0)
        self._lines = FarLines()
        self._inputs = spell_inputs(self._lines)
        self._deltas = 0
        self.mcr = 0
        self.loop = False
        """True in loopback."""
        self.auto_flow = False
        """True while AFE is set: the chip handles CTS and RTS."""

    @property
    def changed(self) -> bool:
        """True while a delta is set, so that the modem status interrupt is pending (8.9)."""
        return bool(self._deltas)

    @property
    def clear_to_send(self) -> bool:
        """State of CTS; in loopback that of RTS."""
        return bool(self._inputs & Msr.CTS)

    @property
    def lines(self) -> FarLines:
        """The lines that the far end drives."""
        return self._lines

    def write(self, value: int) -> None:
        """Write MCR."""
        self.mcr = value & self._writable
        self.loop = bool(self.mcr & Mcr.LOOP)
        self.auto_flow = bool(self.mcr & Mcr.AFE)
        self._look()

    def read_status(self) -> int:
        """Read MSR, and clear its deltas (8.9)."""
        status = self._inputs | self._deltas
        self._deltas = 0
        return status

    def set_lines(self, lines: FarLines) -> None:
        """Set the lines that the far end drives."""
        self._lines = lines
        self._look()

    def outputs(self, *, rts: bool, break_sent: bool) -> PortLines:
        """Return the outputs. In loopback all are inactive (8.8, bit 4)."""
        if self.loop:
            return PortLines()
        return PortLines(
            dtr=bool(self.mcr & Mcr.DTR),
            rts=bool(self.mcr & Mcr.RTS) and rts,
            out1=bool(self.mcr & Mcr.OUT1),
            out2=bool(self.mcr & Mcr.OUT2),
            break_sent=break_sent,
        )

    def reset(self) -> None:
        """Return to the state after a master reset: MSR shows the lines, without deltas."""
        self.write(0)
        self._deltas = 0

    def _look(self) -> None:
        """Update the inputs, and set the deltas of those that changed."""
        if self.loop:
            inputs = sum(int(line) for output, line in LOOPED if self.mcr & output)
        else:
            inputs = spell_inputs(self._lines)
        edges = (inputs ^ self._inputs) >> DELTA_SHIFT
        fallen = (self._inputs & ~inputs) >> DELTA_SHIFT
        self._deltas |= edges & BOTH_EDGES | fallen & Msr.TERI
        self._inputs = inputs


def spell_inputs(lines: FarLines) -> int:
    """Return the bits of MSR for the asserted lines."""
    named = ((lines.cts, Msr.CTS), (lines.dsr, Msr.DSR), (lines.ri, Msr.RI), (lines.dcd, Msr.DCD))
    return sum(int(bit) for asserted, bit in named if asserted)
