"""The NS16550A on the bench: the real device, registers by name, a clock that is driven by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from virtmesh.testing.manual_clock import ManualClock
from virtmesh.uart.model import UartDevice, UartOptions
from virtmesh.uart.port import Flow, LineError
from virtmesh_common.uart.spec import IIR_ID, TRIGGERS, Fcr, Ier, Iir, Lcr, Lsr, Registers

if TYPE_CHECKING:
    from virtmesh.uart.port import LineFormat, PortLines
    from virtmesh_common.registers import Register

EIGHT_BITS = int(Lcr.WORD_LENGTH_LOW | Lcr.WORD_LENGTH_HIGH)
"""LCR for 8 data bits, no parity, one stop bit."""
BITS = 10
"""Bits of a character in that format."""
HAIR = 1e-9
"""Seconds by which the bench is late, so that rounding makes nothing early."""
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
        """What the machine has sent, until `take_sent`."""
        self.told: list[PortLines | LineFormat] = []
        """Lines and formats that the far end was told."""
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
        self.set(registers.fcr, TRIGGER_BITS[trigger] | Fcr.ENABLE if fifo else 0)
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
        """Read which interrupt IIR shows. That clears THRE if it is the one."""
        return Iir(self.get(self.registers.iir) & IIR_ID)

    @property
    def asserted(self) -> bool:
        """True while the interrupt line is asserted."""
        return bool(self.device.interrupt.status)

    def read(self, count: int) -> bytes:
        """Read RBR so many times, one by one."""
        return bytes(self.get(self.registers.rbr) for _ in range(count))

    def read_all(self) -> bytes:
        """Read RBR while LSR says that there is something."""
        read = bytearray()
        while self.get(self.registers.lsr) & Lsr.DR:
            read.append(self.get(self.registers.rbr))
        return bytes(read)

    def write(self, characters: bytes) -> None:
        """Write THR for each character, one by one."""
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
        """Let the time of so many characters pass."""
        self.clock.advance(self.character_seconds * count + HAIR)

    def take_sent(self) -> bytes:
        """Take what the machine has sent since the last time."""
        sent = bytes(self.sent)
        self.sent.clear()
        return sent

    def taken(self, characters: int, overrun: int) -> None:
        """Count what became of input."""
        self.taken_characters += characters
        self.taken_overrun += overrun

    # -- virtmesh.uart.port.PortListener ---------------------------------------------------------

    def output(self, characters: bytes) -> None:
        """Keep what the machine sends."""
        self.sent += characters

    def port_lines_changed(self, lines: PortLines) -> None:
        """Note the lines."""
        self.told.append(lines)

    def format_changed(self, line_format: LineFormat) -> None:
        """Note the format."""
        self.told.append(line_format)
