"""The NS16550A: what each register does to receiver, transmitter, modem lines and interrupts.

National Semiconductor PC16550D data sheet, June 1995 (TL/C/8652); sections are named as there.
The chip calls nobody. What its accesses and its alarms have put out stands in `outbox`, in order;
`changed` says that there may be more room, another interrupt, or something in the outbox. The line
(virtmesh.uart.line.line) looks there after each of them, and shows the interrupt line.

Invariant: `outbox` ends with the lines and the format that the far end is to know.

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
from virtmesh.uart.chip.format import BYTE, LineControl
from virtmesh.uart.chip.interrupts import ENABLED, IDENTIFICATION, InterruptLine, Source
from virtmesh.uart.chip.modem import Modem
from virtmesh.uart.chip.receiver import ERROR_BITS, Receiver
from virtmesh.uart.chip.transmitter import Transmitter
from virtmesh.uart.port import FarLines, LineError, LineFormat, PortLines
from virtmesh_common.uart.spec import IIR_FIFO_ENABLED, Fcr, Ier

if TYPE_CHECKING:
    from virtmesh_native import Interrupt

    from virtmesh.uart.chip.clock import Timeline
    from virtmesh.uart.chip.format import FrameFormat

IER_BITS = int(Ier.ERBFI | Ier.ETBEI | Ier.ELSI | Ier.EDSSI)
"""Bits of IER; the others are always 0 (8.7)."""
LISTENING = int(Ier.ERBFI | Ier.ELSI)
"""Enables of a driver that wants to know what arrives."""
LINE_STATUS = Source.LINE_STATUS.value.bit
TIMEOUT = Source.CHARACTER_TIMEOUT.value.bit
RECEIVED_DATA = Source.RECEIVED_DATA.value.bit
THR_EMPTY = Source.THR_EMPTY.value.bit
MODEM_STATUS = Source.MODEM_STATUS.value.bit


class Chip:
    """The chip. Implements the outlet of its own transmitter.

    `frequency` is that of its clock input, in Hz. `paced`: its baud rate takes time.
    """

    def __init__(
        self,
        interrupt: Interrupt,
        timeline: Timeline,
        *,
        frequency: int,
        paced: bool = False,
        auto_flow: bool = False,
    ) -> None:
        self.paced = paced
        self.changed = False
        """True when the line has something to look at; the line clears it."""
        self.outbox: list[bytes | PortLines | LineFormat] = []
        """What the far end is to be told, in order; the line takes it away."""
        self.listening = False
        """True once the driver has looked for characters since a reset or a cleared FIFO."""
        self.interrupts = InterruptLine(interrupt)
        self.receiver = Receiver(timeline, lambda: self.character_seconds)
        self.transmitter = Transmitter(timeline, self)
        self.modem = Modem(auto_flow=auto_flow)
        self.transmitted = 0
        self.breaks_sent = 0
        self._timeline = timeline
        self._rts = AutoRts()
        self._ier = 0
        self._scr = 0
        self._control = LineControl(frequency, paced=paced)
        self._told_lines = PortLines()

    @property
    def character_seconds(self) -> float | None:
        """Time of a character: 0 when the line is not paced, None when it stands still."""
        return self._control.character_seconds

    @property
    def latch_selected(self) -> bool:
        """DLAB: the first two places are the divisor latch."""
        return self._control.latch_selected

    @property
    def discarded(self) -> int:
        """Characters that the driver has thrown away."""
        return self.receiver.discarded + self.transmitter.discarded

    # -- The line -------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """Characters that a sender which waits for room may send now."""
        if not self.listening or self.modem.loop:
            return 0
        if not self.modem.auto_flow:
            return self.receiver.room
        if not self._rts.asserted:
            return 0
        return min(self.receiver.room, ceiling(self.receiver.trigger) - self.receiver.level)

    @property
    def interrupting(self) -> bool:
        """True while the interrupt line is to be asserted."""
        return bool(self._sources())

    @property
    def format(self) -> LineFormat:
        """How the driver has set the port."""
        return self._control.frame.line_format

    @property
    def port_lines(self) -> PortLines:
        """The lines that the machine drives."""
        return self.modem.outputs(
            rts=self._rts.asserted or not self.modem.auto_flow,
            break_sent=self._control.break_set,
        )

    def receive(self, characters: bytes, error: LineError = LineError.NONE) -> int:
        """Take characters from the line; return how many were lost: in loopback, all are."""
        if self.modem.loop:
            self.receiver.discarded += len(characters)
            return len(characters)
        lost = self.receiver.take(self._control.cut(characters), error)
        self._update_rts()
        return lost

    def set_lines(self, lines: FarLines) -> None:
        """Take the modem lines of the far end."""
        self.modem.set_lines(lines)
        self.transmitter.go_on()

    def show_interrupts(self) -> None:
        """Set the interrupt line to the sources that are pending and enabled."""
        self.interrupts.show(self._sources())

    def reset(self) -> None:
        """Master reset (table I). The divisor stays."""
        self._ier = self._scr = 0
        self.listening = False
        self.receiver.reset()
        self.transmitter.reset()
        self.modem.reset()
        self._rts = AutoRts()
        self.write_lcr(0)

    # -- Outlet of the transmitter --------------------------------------------------------------

    @property
    def frame_format(self) -> FrameFormat | None:
        """The format to send in; None when a character takes no time."""
        return self._control.frame if self.paced else None

    @property
    def held(self) -> bool:
        """True while automatic flow control holds the transmitter back."""
        return self.modem.auto_flow and not self.modem.clear_to_send

    def shifted_out(self, characters: bytes) -> None:
        """Send characters: to the far end, or in loopback to the receiver (8.8, bit 4)."""
        characters = self._control.cut(characters)
        if self.modem.loop:
            self.receiver.take(characters)
            self._update_rts()
        elif not self._control.break_set:
            self.transmitted += len(characters)
            self.outbox.append(characters)

    # -- Registers ------------------------------------------------------------------------------

    def read_rbr(self) -> int:
        """Read the receiver buffer, or the oldest character of the FIFO."""
        self.changed = True
        character = self.receiver.read()
        self._update_rts()
        return character

    def read_run(self, count: int) -> bytes:
        """Read RBR at most so many times in one piece; nothing where each read shows more.

        That is so in loopback, with automatic flow control, with a character that has an error, and
        while characters take time.
        """
        if self.paced or self.modem.loop or self.modem.auto_flow or not self.receiver.flawless:
            return b""
        return self.receiver.read_flawless(count)

    def exchange(self, characters: bytes) -> bytes:
        """Read RBR once for each of these characters, which arrive as those before them are read.

        Nothing, and none arrives, unless the FIFO is full and will be after each read, so that what
        IIR and LSR show does not change: not where each read shows more (`read_run`), nor with a
        timeout pending, which the first read ends.
        """
        receiver = self.receiver
        if self.paced or self.modem.loop or self.modem.auto_flow or not self.listening:
            return b""
        if receiver.room or receiver.timed_out or not receiver.flawless:
            return b""
        return receiver.exchange(self._control.cut(characters))

    def write_thr(self, value: int) -> None:
        """Write a character to send."""
        self.changed = True
        character = value & BYTE
        if not self.write_run(bytes((character,))):
            self.transmitter.write(character)

    def write_run(self, characters: bytes) -> int:
        """Write THR for each character in one piece; return how many: all, or none.

        None where characters wait or take time, and in loopback.
        """
        if self.paced or self.modem.loop or self.held or self.transmitter.level:
            return 0
        self.transmitter.write_at_once(characters)
        return len(characters)

    def read_ier(self) -> int:
        """Read IER."""
        return self._ier

    def write_ier(self, value: int) -> None:
        """Write IER (8.7)."""
        self.changed = True
        before, self._ier = self._ier, value & IER_BITS
        if (before ^ self._ier) & Ier.ETBEI:
            self.transmitter.enable(enabled=bool(self._ier & Ier.ETBEI))
        if self._ier & LISTENING:
            self.listening = True

    def read_iir(self) -> int:
        """Read IIR: when it shows THRE, that interrupt is cleared (table IV)."""
        shown = IDENTIFICATION[self._sources()]
        if shown == Source.THR_EMPTY.value.iir:
            self.changed = True
            self.transmitter.acknowledge()
        return self._with_fifos(shown)

    def look_at_iir(self) -> int | None:
        """Return what IIR shows; None where to read it changes that."""
        shown = IDENTIFICATION[self._sources()]
        return None if shown == Source.THR_EMPTY.value.iir else self._with_fifos(shown)

    def _with_fifos(self, shown: int) -> int:
        """Add to what IIR shows whether the FIFOs are enabled."""
        return shown | IIR_FIFO_ENABLED if self.receiver.fifo_enabled else shown

    def look_at_lsr(self) -> int | None:
        """Return what LSR shows; None where to read it changes that."""
        status = self.receiver.status
        return None if status & ERROR_BITS else status | self.transmitter.status

    def write_fcr(self, value: int) -> None:
        """Write FCR: its other bits count only with bit 0 set (8.5)."""
        self.changed = True
        fcr = value & BYTE
        new_mode = self.receiver.control(fcr)
        self.transmitter.control(fcr)
        if new_mode or (fcr & Fcr.FIFO_ENABLE and fcr & Fcr.RCVR_FIFO_RESET):
            self.listening = bool(self._ier & LISTENING)
        self._update_rts()
        self.receiver.keep_timer()
        if new_mode:
            # What was received is gone, and its interrupt with it, even if more comes at once.
            self.show_interrupts()

    def read_lcr(self) -> int:
        """Read LCR."""
        return self._control.frame.lcr

    def write_lcr(self, value: int) -> None:
        """Write LCR (8.1)."""
        self._control.set_lcr(value & BYTE)
        self._apply_control()

    def read_mcr(self) -> int:
        """Read MCR."""
        return self.modem.mcr

    def write_mcr(self, value: int) -> None:
        """Write MCR (8.8)."""
        self.changed = True
        self.modem.write(value)
        self._tell_lines()
        self.transmitter.go_on()
        self._update_rts()

    def read_lsr(self) -> int:
        """Read LSR: its errors are shown once (8.4)."""
        status = self.receiver.read_status()
        if status & ERROR_BITS:
            self.changed = True
        return status | self.transmitter.status

    def read_msr(self) -> int:
        """Read MSR: its deltas are shown once (8.9)."""
        self.changed = True
        return self.modem.read_status()

    def read_scr(self) -> int:
        """Read the scratchpad (8.10)."""
        return self._scr

    def write_scr(self, value: int) -> None:
        """Write the scratchpad: it controls nothing (8.10)."""
        self._scr = value & BYTE

    def read_dll(self) -> int:
        """Read the lower byte of the divisor."""
        return self._control.frame.divisor & BYTE

    def read_dlm(self) -> int:
        """Read the upper byte of the divisor."""
        return self._control.frame.divisor >> 8

    def write_dll(self, value: int) -> None:
        """Write the lower byte of the divisor (8.3)."""
        self._control.set_divisor(self._control.frame.divisor & ~BYTE | value & BYTE)
        self._apply_control()

    def write_dlm(self, value: int) -> None:
        """Write the upper byte of the divisor (8.3)."""
        self._control.set_divisor(self._control.frame.divisor & BYTE | (value & BYTE) << 8)
        self._apply_control()

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

    def _apply_control(self) -> None:
        """Go on in a new format; the far end is told of it."""
        self.changed = True
        if (factor := self._control.take_time_factor()) != 1:  # It counts at once (8.3).
            self._timeline.scale(factor)
        self.receiver.keep_timer()
        if (line_format := self._control.take_change()) is not None:
            self.outbox.append(line_format)
        self._tell_lines()
        self.transmitter.go_on()

    def _update_rts(self) -> None:
        """Let RTS follow the receive FIFO, if it is automatic."""
        if self.modem.auto_flow:
            self._rts.look(self.receiver.level, self.receiver.trigger)
            self._tell_lines()

    def _tell_lines(self) -> None:
        """Put the lines into the outbox if one of them has moved."""
        lines = self.port_lines
        if lines != self._told_lines:
            self.breaks_sent += lines.break_sent and not self._told_lines.break_sent
            self._told_lines = lines
            self.outbox.append(lines)
