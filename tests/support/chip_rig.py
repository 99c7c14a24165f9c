"""A rig for the NS16550A: the real device, its registers by name, and a manual clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from virtmesh.testing.manual_clock import ManualClock
from virtmesh.uart.model import UartDevice, UartOptions
from virtmesh.uart.port import Flow, LineError
from virtmesh_common.uart.spec import IIR_ID, TRIGGERS, Fcr, Ier, Iir, Lcr, Lsr, Registers

if TYPE_CHECKING:
    from virtmesh.uart.port import LineFormat, PortLines
    from virtmesh_common.registers import Register

EIGHT_BITS = int(Lcr.WLS0 | Lcr.WLS1)
"""LCR for 8 data bits, no parity, one stop bit."""
BITS = 10
"""Bits of a character in that format."""
HAIR = 1e-9
"""Seconds that the rig adds to each wait, so that no alarm is early because of rounding."""
ALL_INTERRUPTS = int(Ier.ERBFI | Ier.ETBEI | Ier.ELSI | Ier.EDSSI)
TRIGGER_BITS = {level: index << 6 for index, level in enumerate(TRIGGERS)}
"""Bits 7 and 6 of FCR for each trigger level (8.5)."""


class ChipRig:
    """One serial port. Implements virtmesh.uart.port.PortListener."""

    def __init__(self, **options: Any) -> None:
        self.clock = ManualClock()
        self.device = UartDevice("serial", UartOptions(**options), self.clock)
        self.chip = self.device.chip
        self.line = self.device.line
        self.registers = Registers(self.device.options.layout)
        self.sent = bytearray()
        """Output of the machine since the last `take_sent`."""
        self.told: list[PortLines | LineFormat] = []
        """Lines and formats that were reported to the far end."""
        self.taken_characters = self.taken_overrun = 0
        self.line.connect(self)

    # -- The driver's side ----------------------------------------------------------------------

    def get(self, register: Register) -> int:
        """Read a register."""
        return self.device.read(register.offset, register.size)

    def set(self, register: Register, value: int) -> None:
        """Write a register."""
        self.device.write(register.offset, register.size, value)

    def set_up(
        self,
        *,
        ier: int = ALL_INTERRUPTS,
        trigger: int = 1,
        fifo: bool = True,
        lcr: int = EIGHT_BITS,
    ) -> None:
        """Set the port up as a driver does."""
        registers = self.registers
        self.set(registers.lcr, lcr)
        self.set(registers.fcr, TRIGGER_BITS[trigger] | Fcr.FIFO_ENABLE if fifo else 0)
        self.set(registers.ier, ier)

    def set_divisor(self, divisor: int) -> None:
        """Set the divisor latch, as a driver does."""
        registers = self.registers
        lcr = self.get(registers.lcr)
        self.set(registers.lcr, lcr | Lcr.DLAB)
        self.set(registers.dll, divisor & 0xFF)
        self.set(registers.dlm, divisor >> 8)
        self.set(registers.lcr, lcr)

    def identify(self) -> Iir:
        """Read the interrupt that IIR identifies. If it is THRE, the read clears it."""
        return Iir(self.get(self.registers.iir) & IIR_ID)

    @property
    def asserted(self) -> bool:
        """True while the interrupt line is asserted."""
        return bool(self.device.interrupt.status)

    def read(self, count: int) -> bytes:
        """Read RBR `count` times."""
        return bytes(self.get(self.registers.rbr) for _ in range(count))

    def read_all(self) -> bytes:
        """Read RBR while LSR has DR set."""
        read = bytearray()
        while self.get(self.registers.lsr) & Lsr.DR:
            read.append(self.get(self.registers.rbr))
        return bytes(read)

    def write(self, characters: bytes) -> None:
        """Write each character to THR."""
        for character in characters:
            self.set(self.registers.thr, character)

    # -- The far end ----------------------------------------------------------------------------

    def send(
        self, data: bytes = b"", error: LineError = LineError.NONE, flow: Flow = Flow.WAIT
    ) -> None:
        """Put input on the line."""
        self.line.send_now(data, error=error, flow=flow)

    @property
    def character_seconds(self) -> float:
        """Time of a character of 8N1 at the present divisor; 0 unpaced, or without a baud rate."""
        form = self.chip.frame_format
        return BITS * ((form.bit_seconds if form else None) or 0.0)

    def pass_characters(self, count: float) -> None:
        """Advance the clock by the time of `count` characters."""
        self.clock.advance(self.character_seconds * count + HAIR)

    def take_sent(self) -> bytes:
        """Return the output of the machine since the last call."""
        sent = bytes(self.sent)
        self.sent.clear()
        return sent

    def taken(self, characters: int, overrun: int) -> None:
        """Count the input that was taken and overrun."""
        self.taken_characters += characters
        self.taken_overrun += overrun

    # -- virtmesh.uart.port.PortListener ---------------------------------------------------------

    def output(self, characters: bytes) -> None:
        """Keep output of the machine."""
        self.sent += characters

    def port_lines_changed(self, lines: PortLines) -> None:
        """Keep a change of the lines."""
        self.told.append(lines)

    def format_changed(self, line_format: LineFormat) -> None:
        """Keep a change of the format."""
        self.told.append(line_format)
