"""The transmitter: holding register or FIFO, and shift register (PC16550D, 8.4, 8.5, 8.11).

Invariant, whenever a method has returned: a character waits only while another one is being sent,
or while the outlet holds it, or while there is no baud rate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from virtmesh_common.uart.spec import FIFO_SIZE, Fcr, Lsr

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh.uart.chip.clock import Timeline
    from virtmesh.uart.chip.format import FrameFormat

TOGETHER = 2
"""Characters at once in the FIFO since it was last empty that do without the delay of THRE."""
# Numbers, since operators of flags cost more than all else that is done with a character.
THRE, TEMT = int(Lsr.THRE), int(Lsr.TEMT)
LAST_STOP_BIT = 1
"""Bits by which that delay is shorter than a character (8.11, XMIT B)."""


class Outlet(Protocol):
    """What the transmitter sends into."""

    @property
    def frame_format(self) -> FrameFormat | None:
        """The format to send in; None when the line is not paced and a character takes no time."""

    @property
    def held(self) -> bool:
        """True while the transmitter may not begin another character (auto flow control)."""

    def shifted_out(self, characters: bytes) -> None:
        """Take characters that are sent."""


class Transmitter:
    """Holds what is written until it is sent."""

    def __init__(self, timeline: Timeline, outlet: Outlet) -> None:
        self._outlet = outlet
        self._shift_alarm = timeline.alarm(self._shifted)
        self._empty_alarm = timeline.alarm(self._show_empty)
        self._characters = bytearray()
        self._shift: int | None = None
        """The character that is being sent."""
        self._hidden = False
        """True while "empty" is not shown yet (8.11, XMIT B)."""
        self._together = False
        """True once two characters were in the FIFO since it was last shown empty."""
        self.fifo_enabled = False
        self.interrupting = False
        """True while the THRE interrupt is pending, should it be enabled."""
        self.overruns = 0
        """Characters written while there was no room."""
        self.on_overrun: Callable[[], object] | None = None
        """Hears of each of them."""
        self.discarded = 0

    @property
    def level(self) -> int:
        """Characters that wait for the shift register."""
        return len(self._characters)

    @property
    def empty(self) -> bool:
        """THRE: the driver may write (8.4, bit 5)."""
        return not self._characters and not self._hidden

    @property
    def idle(self) -> bool:
        """True while nothing is held or being sent."""
        return not self._characters and self._shift is None

    @property
    def status(self) -> int:
        """Bits 5 and 6 of LSR."""
        return (THRE if self.empty else 0) | (TEMT if self.idle else 0)

    # -- The driver -----------------------------------------------------------------------------

    def write(self, character: int) -> None:
        """Take a character. A full FIFO loses it; without FIFOs it destroys the one in THR."""
        self.interrupting = False
        self._hidden = False
        self._empty_alarm.cancel()
        if not self.fifo_enabled and self._characters:
            self._overrun()
            self._characters.clear()
        if len(self._characters) < FIFO_SIZE:
            self._characters.append(character)
        else:
            self._overrun()
        self._together = self._together or len(self._characters) >= TOGETHER
        self.go_on()

    def write_at_once(self, characters: bytes) -> None:
        """Send characters that take no time, as if written one after the other."""
        self._outlet.shifted_out(characters)
        self._show_empty()

    def control(self, fcr: int) -> None:
        """Take FCR (8.5)."""
        enabled = bool(fcr & Fcr.FIFO_ENABLE)
        if enabled != self.fifo_enabled:
            self.fifo_enabled = enabled
            self._clear()
            # The first interrupt after FCR0 has changed is immediate (8.11, XMIT B).
            self._show_empty()
        elif enabled and fcr & Fcr.XMIT_FIFO_RESET and self._characters:
            self._clear()
            self._show_empty()

    def enable(self, *, enabled: bool) -> None:
        """Learn that ETBEI has changed: enabled while THRE is set, it causes an interrupt (8.4)."""
        self.interrupting = enabled and self.empty

    def acknowledge(self) -> None:
        """Clear the interrupt: IIR was read and showed it (table IV)."""
        self.interrupting = False

    def reset(self) -> None:
        """Return to the state of a master reset; the character being sent is cut off."""
        self._clear()
        self._shift_alarm.cancel()
        self.discarded += self._shift is not None
        self._shift = None
        self._hidden = self._together = False
        self._empty_alarm.cancel()
        self.fifo_enabled = False
        self.interrupting = False

    def go_on(self) -> None:
        """Send what waits, as far as nothing holds it back."""
        while self._characters and self._shift is None and not self._outlet.held:
            frame = self._outlet.frame_format
            if frame is None:
                self._outlet.shifted_out(self._load())
            elif (bit := frame.bit_seconds) is None:
                return
            else:
                (self._shift,) = self._load()
                self._shift_alarm.set(bit * frame.character_bits)
            if not self._characters:
                self._emptied(frame)

    # -- Inside ---------------------------------------------------------------------------------

    def _overrun(self) -> None:
        """Count a character that was written while there was no room."""
        self.overruns += 1
        if self.on_overrun is not None:
            self.on_overrun()

    def _load(self) -> bytes:
        """Take the next character to send."""
        character = bytes(self._characters[:1])
        del self._characters[0]
        return character

    def _shifted(self) -> None:
        """Complete the character that is being sent, and begin the next one."""
        if self._shift is None:
            return
        character, self._shift = self._shift, None
        self._outlet.shifted_out(bytes((character,)))
        self.go_on()

    def _emptied(self, frame: FrameFormat | None) -> None:
        """Show that the FIFO is empty.

        With a single character since it was last empty, this is delayed by a character time less
        the last stop bit (8.11, XMIT B), so that a driver is not interrupted for each of two.
        """
        bit = frame.bit_seconds if frame else None
        if frame is None or bit is None or self._together or not self.fifo_enabled:
            self._show_empty()
            return
        self._hidden = True
        self._empty_alarm.set(bit * (frame.character_bits - LAST_STOP_BIT))

    def _show_empty(self) -> None:
        """Set THRE, and with it the interrupt."""
        self._hidden = self._together = False
        self._empty_alarm.cancel()
        self.interrupting = True

    def _clear(self) -> None:
        """Throw away what is held."""
        self.discarded += len(self._characters)
        self._characters.clear()
