"""The setting of a serial line (baud rate and format), and the register values for it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from virtmesh_common.uart.spec import Lcr

CLOCK_HZ = 3_686_400
"""Clock of a port that states none, as on QEMU's virt board."""
CLOCKS_PER_BIT = 16
"""Clocks of the baud rate generator for each bit (PC16550D, 8.3)."""
DIVISOR_MAX = 0xFFFF
USUAL_BAUDS = (115200, 57600, 38400, 19200, 9600, 4800, 2400, 1200, 300)
"""Rates of a port whose node states none, the best first."""
ERROR_MAX = 0.03
"""Largest error of the baud rate. Both ends together may be off by half a bit in ten (0.05)."""

PARITIES = {
    "N": Lcr(0),
    "O": Lcr.PEN,
    "E": Lcr.PEN | Lcr.EPS,
    "M": Lcr.PEN | Lcr.STICK_PARITY,
    "S": Lcr.PEN | Lcr.STICK_PARITY | Lcr.EPS,
}
"""Bits of LCR for each parity: none, odd, even, mark, space (8.1)."""


@dataclass(frozen=True)
class LineSetting:
    """Baud rate and format of the line. `stop_half_bits` is 2 or 4; with five data bits 2 or 3.

    Errors: ValueError for a setting that the port can't have.
    """

    baud: int = 115200
    data_bits: int = 8
    parity: str = "N"
    stop_half_bits: int = 2
    clock_hz: int = CLOCK_HZ

    def __post_init__(self) -> None:
        if self.baud < 1 or self.clock_hz < 1:
            raise ValueError(f"{self.baud} baud with a clock of {self.clock_hz} Hz is not possible")
        if not 5 <= self.data_bits <= 8:
            raise ValueError(f"a character can't have {self.data_bits} data bits: use 5 to 8")
        if self.parity not in PARITIES:
            raise ValueError(f"{self.parity!r} is no parity: use one of {', '.join(PARITIES)}")
        if self.stop_half_bits not in {2, 3 if self.data_bits == 5 else 4}:
            raise ValueError(
                f"{self.stop_half_bits / 2:g} stop bits can't follow {self.data_bits} data bits:"
                f" use 1 or {1.5 if self.data_bits == 5 else 2:g}"
            )
        if abs(self.error) > ERROR_MAX:
            raise ValueError(
                f"a clock of {self.clock_hz} Hz can't make {self.baud} baud:"
                f" the nearest is {self.actual_baud:.0f}"
            )

    @classmethod
    def of_port(cls, clock_hz: int, current_speed: int | None) -> LineSetting:
        """Return the setting that a port begins with.

        `current_speed` is the baud rate that its node states: the nearest one that the clock makes
        is taken, as Linux does, since firmware has set the port in the same way. Without one it is
        the fastest usual rate that the clock makes. Errors: ValueError if it makes none.
        """
        if current_speed is not None and current_speed > 0 and clock_hz > 0:
            divisor = nearest_divisor(clock_hz, current_speed)
            return cls(baud=round(clock_hz / (CLOCKS_PER_BIT * divisor)), clock_hz=clock_hz)
        if current_speed is None:
            for baud in USUAL_BAUDS:
                with suppress(ValueError):
                    return cls(baud=baud, clock_hz=clock_hz)
        return cls(baud=current_speed or 0, clock_hz=clock_hz)  # which says why not

    @property
    def divisor(self) -> int:
        """The divisor for DLM and DLL: the nearest one that they can hold."""
        return nearest_divisor(self.clock_hz, self.baud)

    @property
    def actual_baud(self) -> float:
        """Baud rate that the divisor gives, in bits per second."""
        return self.clock_hz / (CLOCKS_PER_BIT * self.divisor)

    @property
    def error(self) -> float:
        """Error of the actual baud rate: 0.01 is one per cent too fast."""
        return self.actual_baud / self.baud - 1

    @property
    def lcr(self) -> Lcr:
        """The value for LCR."""
        stop = Lcr.STB if self.stop_half_bits > 2 else Lcr(0)
        return Lcr(self.data_bits - 5) | PARITIES[self.parity] | stop

    @property
    def character_s(self) -> float:
        """Time of one character, in seconds: start bit, data, parity, stop bits."""
        bits = 1 + self.data_bits + (self.parity != "N") + self.stop_half_bits / 2
        return bits / self.actual_baud


def nearest_divisor(clock_hz: int, baud: int) -> int:
    """Return the divisor that makes the rate nearest to `baud`, of those that DLM and DLL hold."""
    return min(max(round(clock_hz / (CLOCKS_PER_BIT * max(baud, 1))), 1), DIVISOR_MAX)
