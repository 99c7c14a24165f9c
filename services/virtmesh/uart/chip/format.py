"""The format of characters: what LCR and the divisor latch say (PC16550D data sheet, 8.1, 8.3).

Invariant: everything in `LineControl` but what the far end was told follows from its `frame`.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from virtmesh.uart.port import LineFormat
from virtmesh_common.uart.spec import Lcr

log = structlog.get_logger(__name__)

BAUD_CLOCKS = 16
"""Clocks of the baud generator in a bit (8.3)."""
DEFAULT_BAUD = 9600
"""What the divisor stands for before a driver sets it; the data sheet leaves it open."""
BYTE = 0xFF
WORDS = {bits: bytes(value & ((1 << bits) - 1) for value in range(256)) for bits in (5, 6, 7)}
"""What a word of fewer than 8 bits leaves of each byte."""
SMALLEST_WORD = 5
"""Data bits of a character when the word length bits are 0 (8.1)."""


@dataclass(frozen=True)
class FrameFormat:
    """How a character is framed and clocked: the clock in Hz, the divisor, and LCR."""

    clock: int
    divisor: int
    lcr: int = 0

    @property
    def data_bits(self) -> int:
        """Data bits of a character, 5 to 8."""
        return SMALLEST_WORD + (self.lcr & (Lcr.WLS0 | Lcr.WLS1))

    @property
    def stop_half_bits(self) -> int:
        """Half stop bits: 2, with the stop bit set 3 for a word of 5 bits, else 4."""
        if not self.lcr & Lcr.STB:
            return 2
        return 3 if self.data_bits == SMALLEST_WORD else 4

    @property
    def parity(self) -> str:
        """Parity: N, O, E, M(ark) or S(pace)."""
        if not self.lcr & Lcr.PEN:
            return "N"
        even = bool(self.lcr & Lcr.EPS)
        return ("MS" if self.lcr & Lcr.STICK_PARITY else "OE")[even]

    @property
    def bit_seconds(self) -> float | None:
        """Time of a bit; None when the divisor is 0 and the line stands still."""
        return BAUD_CLOCKS * self.divisor / self.clock or None

    @property
    def character_bits(self) -> float:
        """Bits of a character: start, data, parity, stop."""
        return 1 + self.data_bits + (self.parity != "N") + self.stop_half_bits / 2

    @property
    def line_format(self) -> LineFormat:
        """What the far end is told of this format."""
        return LineFormat(
            baud=round(self.clock / (BAUD_CLOCKS * self.divisor)) if self.divisor else 0,
            data_bits=self.data_bits,
            parity=self.parity,
            stop_half_bits=self.stop_half_bits,
        )


class LineControl:
    """LCR and the divisor latch: how the driver has set the port now."""

    def __init__(self, frequency: int, *, paced: bool) -> None:
        self.character_seconds: float | None = 0.0
        """Time of a character: 0 when the line is not paced, None when it stands still."""
        self.latch_selected = False
        """DLAB: the first two places are the divisor latch."""
        self.break_set = False
        """True while the driver sends a break."""
        self._paced = paced
        self._word: bytes | None = None
        """What the word length leaves of each byte; None when it leaves all."""
        self._warned = False
        divisor = max(1, round(frequency / BAUD_CLOCKS / DEFAULT_BAUD))
        self.frame = FrameFormat(frequency, divisor)
        self._bit_seconds = BAUD_CLOCKS * divisor / frequency
        """Time of a bit when the line last had a baud rate."""
        self._take(self.frame)
        self._told = self.frame.line_format

    def cut(self, characters: bytes) -> bytes:
        """Cut characters to the word length (8.1)."""
        return characters if self._word is None else characters.translate(self._word)

    def set_lcr(self, value: int) -> None:
        """Take LCR."""
        self._take(FrameFormat(self.frame.clock, self.frame.divisor, value))

    def set_divisor(self, divisor: int) -> None:
        """Take the divisor (8.3). With 0 a paced line stands still."""
        self._take(FrameFormat(self.frame.clock, divisor, self.frame.lcr))

    def take_change(self) -> LineFormat | None:
        """Return the format if the far end has not been told of it.

        Nothing while DLAB is set: the divisor may be half written.
        """
        told = self.frame.line_format
        if told == self._told or self.latch_selected:
            return None
        self._told = told
        if not self.frame.divisor and not self._warned:
            self._warned = True
            log.warning("the divisor is 0: there is no baud rate", stands_still=self._paced)
        return told

    def take_time_factor(self) -> float:
        """Return how many times as long a bit takes as when this was last asked.

        While the divisor is 0 a bit keeps the time that it had: nothing moves anyway.
        """
        before = self._bit_seconds
        if self._paced:
            self._bit_seconds = self.frame.bit_seconds or before
        return self._bit_seconds / before

    def _take(self, frame: FrameFormat) -> None:
        """Take a format."""
        self.frame = frame
        self.latch_selected = bool(frame.lcr & Lcr.DLAB)
        self.break_set = bool(frame.lcr & Lcr.SET_BREAK)
        self._word = WORDS.get(frame.data_bits)
        if self._paced:
            bit = frame.bit_seconds
            self.character_seconds = None if bit is None else bit * frame.character_bits
