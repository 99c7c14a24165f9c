"""The NS16550A: what each register does to receiver, transmitter, modem lines and interrupts.

National Semiconductor PC16550D data sheet, June 1995 (TL/C/8652); sections are named as there.
Differences, since a line that is not paced is as fast as its reader and its writer:
- A character is sent the moment it is written, so that THRE and TEMT are always set, and the delay
  of THRE (8.11, XMIT B) does not occur.
- A character that is read makes room, and the next one on the line is received at once.
- A FIFO that is below its trigger times out on the next turn of the event loop.
Also:
- A sender that waits for room waits while nobody listens: until the driver enables ERBFI or ELSI,
  or reads LSR or RBR, after a reset or after it has cleared the receive FIFO. So what was sent
  before a driver came up is not thrown away with the contents of the FIFO. In loopback too it
  waits.
- Characters sent during a break do not reach the far end.
- A reset leaves a word length of 5 bits (table I: LCR is 0), as on every 16550. A driver that never
  writes LCR, since it counts on firmware that did, gets 5 of its 8 bits through.
- DMA mode (FCR bit 3) has no effect: there are no RXRDY and TXRDY pins.
- The line's errors are marked whatever the parity setting: the far end's format is not modelled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.uart.chip.auto_flow import AutoRts, ceiling
from virtmesh.uart.chip.clock import Timeline
from virtmesh.uart.chip.format import BYTE, Setting
from virtmesh.uart.chip.interrupts import ENABLED, IDENTIFICATION, InterruptLine, Sources
from virtmesh.uart.chip.modem import Modem
from virtmesh.uart.chip.receiver import ERROR_BITS, Receiver
from virtmesh.uart.chip.transmitter import Transmitter
from virtmesh.uart.line.line import SerialLine
from virtmesh.uart.port import FarLines, LineError, LineFormat, PortLines
from virtmesh_common.uart.spec import IIR_FIFO_ENABLED, Fcr, Ier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtmesh_native import Interrupt

    from virtmesh.uart.chip.clock import Clock
    from virtmesh.uart.chip.format import Format

IER_BITS = int(Ier.ERBFI | Ier.ETBEI | Ier.ELSI | Ier.EDSSI)
"""Bits of IER; the others are always 0 (8.7)."""
LISTENING = int(Ier.ERBFI | Ier.ELSI)
"""Enables of a driver that wants to know what arrives."""
LINE_STATUS = Sources.LINE_STATUS.value.bit
TIMEOUT = Sources.CHARACTER_TIMEOUT.value.bit
RECEIVED_DATA = Sources.RECEIVED_DATA.value.bit
THR_EMPTY = Sources.THR_EMPTY.value.bit
MODEM_STATUS = Sources.MODEM_STATUS.value.bit


class Chip:
    """The chip. Implements virtmesh.uart.port.Port, and the outlet of its transmitter.

    `frequency` is that of its clock input, in Hz. `paced`: its baud rate takes time.
    """

    def __init__(
        self,
        interrupt: Interrupt,
        clock: Clock,
        *,
        frequency: int,
        paced: bool = False,
        auto_flow: bool = False,
    ) -> None:
        self.paced = paced
        self.timeline = Timeline(clock)
        self.interrupts = InterruptLine(interrupt)
        self.receiver = Receiver(self.timeline, lambda: self.character_seconds, self._show)
        self.transmitter = Transmitter(self.timeline, self)
        self.modem = Modem(auto_flow=auto_flow)
        self.line = SerialLine(self, self.timeline)
        self.transmitted = 0
        self.breaks_sent = 0
        self._rts = AutoRts()
        self._listening = False
        self._refilling = False
        self._ier = 0
        self._scr = 0
        self._setting = Setting(frequency, paced=paced)
        self._told_lines = PortLines()

    @property
    def character_seconds(self) -> float | None:
        """Time of a character: 0 when the line is not paced, None when it stands still."""
        return self._setting.character_seconds

    @property
    def latch_selected(self) -> bool:
        """DLAB: the first two places are the divisor latch."""
        return self._setting.latch_selected

    # -- virtmesh.uart.port.Port ----------------------------------------------------------------

    @property
    def room(self) -> int:
        """Characters that a sender which looks may send now."""
        if not self._listening or self.modem.loop:
            return 0
        if not self.modem.auto_flow:
            return self.receiver.room
        if not self._rts.asserted:
            return 0
        return min(self.receiver.room, ceiling(self.receiver.trigger) - self.receiver.level)

    @property
    def interrupting(self) -> bool:
        """True while the interrupt line is asserted."""
        return bool(self._sources())

    @property
    def format(self) -> LineFormat:
        """How the driver has set the port."""
        return self._setting.form.line_format

    @property
    def port_lines(self) -> PortLines:
        """The lines that the machine drives."""
        return self.modem.outputs(
            rts=self._rts.asserted or not self.modem.auto_flow,
            break_sent=self._setting.break_set,
        )

    @property
    def discarded(self) -> int:
        """Characters that the driver has thrown away."""
        return self.receiver.discarded + self.transmitter.discarded

    def receive(self, characters: Sequence[int]) -> int:
        """Take characters from the line; return how many were lost: in loopback, all are."""
        if self.modem.loop:
            self.receiver.discarded += len(characters)
            return len(characters)
        lost = self.receiver.take(self._setting.cut(bytes(characters)))
        self._show()
        return lost

    def receive_broken(self, character: int, error: LineError) -> bool:
        """Take a character with an error; True when one was lost."""
        if self.modem.loop:
            return bool(self.receive((character,)))
        (character,) = self._setting.cut(bytes((character,)))
        lost = self.receiver.take_broken(character, error)
        self._show()
        return bool(lost)

    def set_lines(self, lines: FarLines) -> None:
        """Take the modem lines of the far end."""
        self.timeline.settle()
        self.modem.set_lines(lines)
        self.transmitter.go_on()
        self._changed()

    # -- Outlet of the transmitter --------------------------------------------------------------

    @property
    def sending_format(self) -> Format | None:
        """The format to send in; None when a character takes no time."""
        return self._setting.form if self.paced else None

    @property
    def held(self) -> bool:
        """True while automatic flow control holds the transmitter back."""
        return self.modem.auto_flow and not self.modem.clear_to_send

    def shifted_out(self, characters: bytes) -> None:
        """Send characters: to the far end, or in loopback to the receiver (8.8, bit 4)."""
        characters = self._setting.cut(characters)
        if self.modem.loop:
            self.receiver.take(characters)
            self._show()
        elif not self._setting.break_set:
            self.transmitted += len(characters)
            self.line.sent(characters)

    def transmitter_changed(self) -> None:
        """Show the THRE interrupt."""
        self._show()

    # -- Registers ------------------------------------------------------------------------------

    def read_rbr(self) -> int:
        """Read the receiver buffer, or the oldest character of the FIFO."""
        self._listen()
        character = self.receiver.read()
        self._go_on()
        self.receiver.restart_timer()
        return character

    def read_run(self, count: int) -> bytes | None:
        """Read RBR so many times; None where that is to be done one by one."""
        if self.paced or self.modem.loop or self.modem.auto_flow:
            return None
        self._listen()
        if not self.receiver.flawless or not self.line.steady:
            return None
        taken = self.receiver.read_flawless(count)
        if drawn := self._setting.cut(self.line.draw(count - len(taken))):
            self.receiver.pass_through(drawn)
            taken += drawn
        self._go_on()
        self.receiver.restart_timer()
        missing = count - len(taken)
        if not self.receiver.level:  # An empty receiver shows what was read last.
            return taken + bytes((self.receiver.last,)) * missing
        return taken + bytes(self.read_rbr() for _ in range(missing))  # One of them has an error.

    def write_thr(self, value: int) -> None:
        """Write a character to send."""
        self.transmitter.write(value & BYTE)
        self._show()

    def write_run(self, characters: bytes) -> bool:
        """Write THR for each character; False where that is to be done one by one."""
        if self.paced or self.modem.loop or self.held or self.transmitter.level:
            return False
        self.transmitter.write_at_once(characters)
        return True

    def read_ier(self) -> int:
        """Read IER."""
        return self._ier

    def write_ier(self, value: int) -> None:
        """Write IER (8.7)."""
        before, self._ier = self._ier, value & IER_BITS
        if (before ^ self._ier) & Ier.ETBEI:
            self.transmitter.enable(enabled=bool(self._ier & Ier.ETBEI))
        if self._ier & LISTENING:
            self._listen()
        self._changed()

    def read_iir(self) -> int:
        """Read IIR: when it shows THRE, that interrupt is cleared (table IV)."""
        shown = IDENTIFICATION[self._sources()]
        if shown == Sources.THR_EMPTY.value.iir:
            self.transmitter.acknowledge()
            self._changed()
        return shown | IIR_FIFO_ENABLED if self.receiver.fifo_enabled else shown

    def write_fcr(self, value: int) -> None:
        """Write FCR: its other bits count only with bit 0 set (8.5)."""
        fcr = value & BYTE
        changed = self.receiver.control(fcr)
        self.transmitter.control(fcr)
        if changed or (fcr & Fcr.ENABLE and fcr & Fcr.RESET_RECEIVER):
            self._listening = bool(self._ier & LISTENING)
        self._go_on()
        self.receiver.keep_timer()

    def read_lcr(self) -> int:
        """Read LCR."""
        return self._setting.form.lcr

    def write_lcr(self, value: int) -> None:
        """Write LCR (8.1)."""
        self._setting.set_lcr(value & BYTE)
        self._set()

    def read_mcr(self) -> int:
        """Read MCR."""
        return self.modem.mcr

    def write_mcr(self, value: int) -> None:
        """Write MCR (8.8)."""
        self.modem.write(value)
        self._tell_lines()
        self.transmitter.go_on()
        self._go_on()

    def read_lsr(self) -> int:
        """Read LSR: its errors are shown once (8.4)."""
        self._listen()
        status = self.receiver.read_status()
        if status & ERROR_BITS:
            self._changed()
        return status | self.transmitter.status

    def read_msr(self) -> int:
        """Read MSR: its deltas are shown once (8.9)."""
        status = self.modem.read_status()
        self._changed()
        return status

    def read_scr(self) -> int:
        """Read the scratchpad (8.10)."""
        return self._scr

    def write_scr(self, value: int) -> None:
        """Write the scratchpad: it controls nothing (8.10)."""
        self._scr = value & BYTE

    def read_dll(self) -> int:
        """Read the lower byte of the divisor."""
        return self._setting.form.divisor & BYTE

    def read_dlm(self) -> int:
        """Read the upper byte of the divisor."""
        return self._setting.form.divisor >> 8

    def write_dll(self, value: int) -> None:
        """Write the lower byte of the divisor (8.3)."""
        self._setting.set_divisor(self._setting.form.divisor & ~BYTE | value & BYTE)
        self._set()

    def write_dlm(self, value: int) -> None:
        """Write the upper byte of the divisor (8.3)."""
        self._setting.set_divisor(self._setting.form.divisor & BYTE | (value & BYTE) << 8)
        self._set()

    def reset(self) -> None:
        """Master reset (table I). The divisor stays, and so does what waits on the line."""
        self.timeline.settle()
        self._ier = self._scr = 0
        self._listening = False
        self.receiver.reset()
        self.transmitter.reset()
        self.modem.reset()
        self._rts = AutoRts()
        self._setting.set_lcr(0)
        self._set()
        self._changed()

    # -- Inside ---------------------------------------------------------------------------------

    def _sources(self) -> int:
        """Return the sources that hold the interrupt line: pending and enabled."""
        enabled = ENABLED[self._ier]
        if not enabled:
            return 0
        receiver = self.receiver
        pending = LINE_STATUS if receiver.erroneous else 0
        if receiver.available:
            pending |= RECEIVED_DATA
        if receiver.timed_out:
            pending |= TIMEOUT
        if self.transmitter.interrupting:
            pending |= THR_EMPTY
        if self.modem.changed:
            pending |= MODEM_STATUS
        return pending & enabled

    def _show(self) -> None:
        """Show the interrupt line, and RTS if it is automatic."""
        if not self._refilling:
            self.interrupts.show(self._sources())
        if self.modem.auto_flow:
            self._rts.look(self.receiver.level, self.receiver.trigger)
            self._tell_lines()

    def _changed(self) -> None:
        """Show the interrupt line; once it is not asserted, no sender waits for its driver."""
        self._show()
        if not self.interrupting:
            self.line.pump()

    def _go_on(self) -> None:
        """Let the line go on where there is room now, then show what has become of that."""
        if self.modem.auto_flow:
            self._show()
        # Nobody sees the receiver between a read and its refill.
        self._refilling = True
        self.line.pump()
        self._refilling = False
        self._changed()

    def _listen(self) -> None:
        """Learn that the driver looks at the receiver."""
        if not self._listening:
            self._listening = True
            self.line.pump()

    def _set(self) -> None:
        """Go on with a new format, of which the far end is told."""
        if (factor := self._setting.stretch()) != 1:  # It counts at once (8.3).
            self.timeline.stretch(factor)
        self.receiver.keep_timer()
        if (told := self._setting.news()) is not None:
            self.line.format_changed(told)
        self._tell_lines()
        self.transmitter.go_on()
        self.line.pump()

    def _tell_lines(self) -> None:
        """Tell the far end which lines have moved."""
        lines = self.port_lines
        if lines != self._told_lines:
            self.breaks_sent += lines.break_sent and not self._told_lines.break_sent
            self._told_lines = lines
            self.line.port_lines_changed(lines)
