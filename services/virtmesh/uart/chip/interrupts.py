"""The interrupts of the NS16550A: sources, enables, priorities (PC16550D, 8.6, 8.7, table IV).

Invariant: the interrupt of the device has the sources that were last shown here, and no others.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from virtmesh_common.uart.spec import Ier, Iir

if TYPE_CHECKING:
    from virtmesh_native import Interrupt


@dataclass(frozen=True)
class SourceRow:
    """A row of table IV: a source's bit here, its identification in IIR, and its enable in IER."""

    name: str
    bit: int
    iir: Iir
    enable: Ier


class Source(Enum):
    """The sources by falling priority.

    A timeout has the priority of received data; while both are pending, IIR shows the timeout: its
    bit 3 is set while one is (8.6).
    """

    LINE_STATUS = SourceRow("line_status", 1 << 0, Iir.LINE_STATUS, Ier.ELSI)
    CHARACTER_TIMEOUT = SourceRow("character_timeout", 1 << 2, Iir.CHARACTER_TIMEOUT, Ier.ERBFI)
    RECEIVED_DATA = SourceRow("received_data", 1 << 1, Iir.RECEIVED_DATA, Ier.ERBFI)
    THR_EMPTY = SourceRow("thr_empty", 1 << 3, Iir.THR_EMPTY, Ier.ETBEI)
    MODEM_STATUS = SourceRow("modem_status", 1 << 4, Iir.MODEM_STATUS, Ier.EDSSI)


BY_PRIORITY = tuple(one.value for one in Source)
ENABLED = tuple(
    sum(one.bit for one in BY_PRIORITY if one.enable & enabled) for enabled in range(16)
)
"""Bits of the sources that each value of IER lets through."""
IDENTIFICATION = tuple(
    int(next((one.iir for one in BY_PRIORITY if one.bit & pending), Iir.NONE))
    for pending in range(32)
)
"""What IIR shows while these sources are pending and enabled."""


class InterruptLine:
    """The interrupt line of the chip: asserted while a source is pending and enabled."""

    def __init__(self, interrupt: Interrupt) -> None:
        self._interrupt = interrupt
        self._shown = 0
        self.raised: Counter[str] = Counter()
        """Times that each source began to hold the line."""

    def show(self, sources: int) -> None:
        """Set the sources that hold the line."""
        if sources == self._shown:
            return
        begun = sources & ~self._shown
        self._shown = sources
        for source in BY_PRIORITY:
            if source.bit & begun:
                self.raised[source.name] += 1
        self._interrupt.set_level(sources)
