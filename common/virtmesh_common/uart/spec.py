"""The registers of the NS16550A, as data (PC16550D data sheet, section 8, table II).

Eight places, shared by twelve registers: DLAB (LCR bit 7) and the direction of the access select.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag

from virtmesh_common.registers import (
    Access,
    Field,
    Register,
    fill_reserved,
    flag_fields,
    named_values,
)

FIFO_SIZE = 16
"""Characters that each FIFO holds."""
PLACES = 8
"""Register places of the window."""
COMPATIBLE = "ns16550a"
"""Compatible string of the device tree."""


class Ier(IntFlag):
    """Interrupt enable register (8.7)."""

    ERBFI = 0x01
    """Received data available, and character timeout."""
    ETBEI = 0x02
    """Transmitter holding register empty."""
    ELSI = 0x04
    """Receiver line status."""
    EDSSI = 0x08
    """Modem status."""


class Iir(IntEnum):
    """Interrupt identification: bits 3 to 0 of IIR (8.6, table IV), by falling priority."""

    LINE_STATUS = 0x6
    RECEIVED_DATA = 0x4
    CHARACTER_TIMEOUT = 0xC
    THR_EMPTY = 0x2
    MODEM_STATUS = 0x0
    NONE = 0x1


IIR_ID = 0x0F
"""Bits of IIR that identify the interrupt."""
IIR_FIFO_ENABLED = 0xC0
"""Bits of IIR that are set while the FIFOs are enabled."""


class Fcr(IntFlag):
    """FIFO control register (8.5)."""

    FIFO_ENABLE = 0x01
    RCVR_FIFO_RESET = 0x02
    XMIT_FIFO_RESET = 0x04
    DMA_MODE_SELECT = 0x08
    RCVR_TRIGGER_LSB = 0x40
    RCVR_TRIGGER_MSB = 0x80


TRIGGERS = (1, 4, 8, 14)
"""Characters at which received data becomes available, by bits 7 and 6 of FCR."""


class Lcr(IntFlag):
    """Line control register (8.1)."""

    WLS0 = 0x01
    WLS1 = 0x02
    STB = 0x04
    PEN = 0x08
    EPS = 0x10
    STICK_PARITY = 0x20
    SET_BREAK = 0x40
    DLAB = 0x80


class Mcr(IntFlag):
    """Modem control register (8.8)."""

    DTR = 0x01
    RTS = 0x02
    OUT1 = 0x04
    OUT2 = 0x08
    LOOP = 0x10
    AFE = 0x20
    """Automatic flow control: of the 16550's successors (TL16C550C), where the device offers it."""


class Lsr(IntFlag):
    """Line status register (8.4)."""

    DR = 0x01
    OE = 0x02
    PE = 0x04
    FE = 0x08
    BI = 0x10
    THRE = 0x20
    TEMT = 0x40
    ERROR_IN_RCVR_FIFO = 0x80


class Msr(IntFlag):
    """Modem status register (8.9)."""

    DCTS = 0x01
    DDSR = 0x02
    TERI = 0x04
    DDCD = 0x08
    CTS = 0x10
    DSR = 0x20
    RI = 0x40
    DCD = 0x80


DIVISOR_LATCH, MAIN = "DLAB=1", "DLAB=0"
"""Banks: DLL and DLM share their places with RBR, THR and IER."""
BITS = 8
"""Bits of a register. Of one that is accessed by more, those above are zeroes."""

IER_FIELDS = flag_fields(
    Ier,
    BITS,
    {
        Ier.ERBFI: "Enable received data available interrupt, and character timeout",
        Ier.ETBEI: "Enable transmitter holding register empty interrupt",
        Ier.ELSI: "Enable receiver line status interrupt",
        Ier.EDSSI: "Enable modem status interrupt",
    },
)
IIR_FIELDS = fill_reserved(
    (
        Field(
            "INTERRUPT_ID",
            0,
            4,
            values=named_values(Iir),
            doc="The interrupt of the highest priority",
        ),
        Field("FIFOS_ENABLED", 6, 2, doc="3 while the FIFOs are enabled"),
    ),
    BITS,
)
FCR_FIELDS = flag_fields(
    Fcr,
    BITS,
    {
        Fcr.FIFO_ENABLE: "Both FIFOs are enabled; without it the other bits have no effect",
        Fcr.RCVR_FIFO_RESET: "Clears the receiver FIFO; clears itself",
        Fcr.XMIT_FIFO_RESET: "Clears the transmitter FIFO; clears itself",
        Fcr.DMA_MODE_SELECT: "Mode of the pins RXRDY and TXRDY, which are not there",
        Fcr.RCVR_TRIGGER_LSB: "Trigger level, low bit: 1, 4, 8 or 14 characters",
        Fcr.RCVR_TRIGGER_MSB: "Trigger level, high bit",
    },
)
LCR_FIELDS = flag_fields(
    Lcr,
    BITS,
    {
        Lcr.WLS0: "Word length select, low bit: 5, 6, 7 or 8 bits",
        Lcr.WLS1: "Word length select, high bit",
        Lcr.STB: "Number of stop bits: 2 (1.5 of 5-bit words) instead of 1",
        Lcr.PEN: "Parity enable",
        Lcr.EPS: "Even parity select",
        Lcr.STICK_PARITY: "The parity bit is fixed, to the opposite of EPS",
        Lcr.SET_BREAK: "The serial output is held at 0",
        Lcr.DLAB: "Divisor latch access bit",
    },
)
MCR_FIELDS = flag_fields(
    Mcr,
    BITS,
    {
        Mcr.DTR: "Data terminal ready",
        Mcr.RTS: "Request to send",
        Mcr.OUT1: "Output 1",
        Mcr.OUT2: "Output 2",
        Mcr.LOOP: "Loopback for diagnostics",
        Mcr.AFE: "Automatic flow control, of the TL16C550C",
    },
)
MCR_FIELDS_NO_AFE = fill_reserved(
    (one for one in MCR_FIELDS if not one.reserved and one.name != Mcr.AFE.name), BITS
)
LSR_FIELDS = flag_fields(
    Lsr,
    BITS,
    {
        Lsr.DR: "Data ready",
        Lsr.OE: "Overrun error",
        Lsr.PE: "Parity error",
        Lsr.FE: "Framing error",
        Lsr.BI: "Break interrupt",
        Lsr.THRE: "Transmitter holding register empty",
        Lsr.TEMT: "Transmitter empty",
        Lsr.ERROR_IN_RCVR_FIFO: "A character of the FIFO has an error",
    },
)
MSR_FIELDS = flag_fields(
    Msr,
    BITS,
    {
        Msr.DCTS: "Delta clear to send",
        Msr.DDSR: "Delta data set ready",
        Msr.TERI: "Trailing edge of ring indicator",
        Msr.DDCD: "Delta data carrier detect",
        Msr.CTS: "Clear to send",
        Msr.DSR: "Data set ready",
        Msr.RI: "Ring indicator",
        Msr.DCD: "Data carrier detect",
    },
)

REG_SHIFTS = range(5)
"""Values of reg-shift that there are."""


@dataclass(frozen=True)
class Layout:
    """Where the registers are: each `1 << reg_shift` bytes apart, `reg_io_width` bytes wide.

    As the properties of the device tree node: `reg-shift`, `reg-io-width`. A wider register holds
    its eight bits at the bottom, zeroes above.
    """

    reg_shift: int = 0
    reg_io_width: int = 1

    def __post_init__(self) -> None:
        if self.reg_io_width not in (1, 2, 4) or self.reg_shift not in REG_SHIFTS:
            raise ValueError("reg-io-width is 1, 2 or 4 bytes, reg-shift from 0 to 4")
        if self.reg_io_width > 1 << self.reg_shift:
            raise ValueError(
                f"registers of {self.reg_io_width} bytes overlap at a reg-shift of"
                f" {self.reg_shift}: make that {self.reg_io_width.bit_length() - 1} or more"
            )

    @property
    def size(self) -> int:
        """Size of the window, in bytes."""
        return PLACES << self.reg_shift

    def register(  # noqa: PLR0913 - a row of the table, written as one
        self,
        name: str,
        place: int,
        access: Access,
        clause: str,
        doc: str,
        *,
        reset: int = 0,
        fields: tuple[Field, ...] = (),
        bank: str = "",
    ) -> Register:
        """Make the register of a place."""
        return Register(
            name=name,
            offset=place << self.reg_shift,
            access=access,
            clause=clause,
            doc=doc,
            size=self.reg_io_width,
            widths=(self.reg_io_width,),
            reset=reset,
            fields=fields,
            bank=bank,
        )


class Registers:
    """The registers of one layout. `main` are those with DLAB 0, `latch` those with DLAB 1.

    `auto_flow`: MCR has AFE, as the successors of the chip do; its bit is reserved otherwise.
    """

    def __init__(self, layout: Layout | None = None, *, auto_flow: bool = False) -> None:
        self.layout = layout or Layout()
        one, r, w, rw = self.layout.register, Access.R, Access.W, Access.RW
        mcr = MCR_FIELDS if auto_flow else MCR_FIELDS_NO_AFE
        self.rbr = one("RBR", 0, r, "8.0", "receiver buffer: the oldest character", bank=MAIN)
        self.thr = one("THR", 0, w, "8.0", "transmitter holding: the next to send", bank=MAIN)
        self.ier = one("IER", 1, rw, "8.7", "interrupt enable", fields=IER_FIELDS, bank=MAIN)
        self.iir = one("IIR", 2, r, "8.6", "interrupt identification", reset=1, fields=IIR_FIELDS)
        self.fcr = one("FCR", 2, w, "8.5", "FIFO control", fields=FCR_FIELDS)
        self.lcr = one("LCR", 3, rw, "8.1", "line control", fields=LCR_FIELDS)
        self.mcr = one("MCR", 4, rw, "8.8", "modem control", fields=mcr)
        self.lsr = one("LSR", 5, r, "8.4", "line status", reset=0x60, fields=LSR_FIELDS)
        self.msr = one("MSR", 6, r, "8.9", "modem status", fields=MSR_FIELDS)
        self.scr = one("SCR", 7, rw, "8.10", "scratchpad: no effect")
        self.dll = one("DLL", 0, rw, "8.3", "divisor latch, bits 7 to 0", bank=DIVISOR_LATCH)
        self.dlm = one("DLM", 1, rw, "8.3", "divisor latch, bits 15 to 8", bank=DIVISOR_LATCH)
        both = (self.iir, self.fcr, self.lcr, self.mcr, self.lsr, self.msr, self.scr)
        self.main = (self.rbr, self.thr, self.ier, *both)
        self.latch = (self.dll, self.dlm, *both)

    @property
    def table(self) -> tuple[Register, ...]:
        """All of them, ascending by offset."""
        registers = dict.fromkeys((*self.main, *self.latch))
        return tuple(sorted(registers, key=lambda register: register.offset))
