"""The registers of an NS16550A as a driver uses them: every operation is one message.

PC16550D data sheet, section 8. A burst of accesses travels as one batch, with guards where one
access decides about the next, so nothing waits for an answer in the middle of a burst.

Reading LSR has effects: it clears OE, and the error bits of the oldest character in the FIFO (8.4).
So whoever reads it, for whatever reason, keeps those bits for the character that is read next.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from virtmesh.attach.bus import BATCH_LIMIT, guarding, reading, writing
from virtmesh_common.uart.spec import (
    FIFO_SIZE,
    IIR_FIFO_ENABLED,
    IIR_ID,
    TRIGGERS,
    Fcr,
    Ier,
    Iir,
    Lcr,
    Lsr,
    Mcr,
    Registers,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtmesh.attach.bus import Access, Bus
    from virtmesh.uart.driver.line_setting import LineSetting
    from virtmesh_common.uart.spec import Layout

CHARACTER_ERRORS = int(Lsr.PE | Lsr.FE | Lsr.BI)
"""Bits of LSR that belong to one character."""
OVERRUN = int(Lsr.OE)
TRIGGER = TRIGGERS[-1]
"""Characters in the receive FIFO that interrupt: as many as there can be, for few interrupts."""
FIFOS_ON = Fcr.FIFO_ENABLE | Fcr.RCVR_TRIGGER_LSB | Fcr.RCVR_TRIGGER_MSB


@dataclass
class Received:
    """Characters in order, and what was learned while they were read."""

    data: bytearray = field(default_factory=bytearray)
    errors: list[tuple[int, Lsr]] = field(default_factory=list)
    """Which of the characters came with errors (PE, FE, BI), by index, ascending."""
    cause: int | None = None
    """What IIR identified behind the last of them, an Iir unless the device is at fault; None when
    a character with an error is to be read."""


class NS16550aRaw:
    """The registers of one port, over its bus. Errors of all methods: those of `Bus.access`.

    Calls may overlap: batches are executed, and their answers looked at, in the order of the calls.
    """

    def __init__(self, bus: Bus, layout: Layout | None = None) -> None:
        self.bus = bus
        self.registers = registers = Registers(layout)
        self.fifo_size = 1
        """Characters that each FIFO holds: 1 until `enable_fifos`."""
        self.overruns_seen = 0
        """Times that LSR showed OE; each stands for one lost character or more."""
        self.character_s = 0.0
        """How long a character takes on the line as it is set, in seconds."""
        self.messages = 0
        """Batches sent."""
        self.ier = Ier(0)
        """What IER holds."""
        self.mcr = Mcr(0)
        """What MCR holds."""
        self.lcr = Lcr(0)
        """What LCR holds."""
        self._narrow = registers.layout.reg_io_width == 1
        self._flags = 0
        """Error bits that were read, of the character that is to be read next."""
        self._groups = 1
        """Groups of the next `take`, of the FIFO's size each; so too below."""
        self._bursts = 1
        self._pairs = FIFO_SIZE
        self._iir = reading(registers.iir)
        self._send = [writing(registers.thr, character) for character in range(256)]
        self._if_room = guarding(registers.lsr, Lsr.THRE, Lsr.THRE)
        self._pair = [guarding(registers.lsr, Lsr.DR, Lsr.DR), reading(registers.rbr)]
        self._group = self._make_group(1)

    async def enable_fifos(self, size: int) -> None:
        """Empty the FIFOs, and enable them: they hold `size` characters, as the probe found."""
        empty = Fcr.RCVR_FIFO_RESET | Fcr.XMIT_FIFO_RESET
        await self._access([writing(self.registers.fcr, FIFOS_ON | empty)])
        self.fifo_size = size
        self._group = self._make_group(TRIGGER if size >= FIFO_SIZE else 1)

    async def set_line(self, setting: LineSetting) -> None:
        """Set divisor and format; takes effect at once, whatever is under way."""
        regs, divisor = self.registers, setting.divisor
        self.character_s = setting.character_s
        self.lcr = setting.lcr | self.lcr & Lcr.SET_BREAK
        await self._access(
            [
                writing(regs.lcr, self.lcr | Lcr.DLAB),
                writing(regs.dll, divisor & 0xFF),
                writing(regs.dlm, divisor >> 8),
                writing(regs.lcr, self.lcr),
            ]
        )

    async def set_break(self, *, on: bool) -> None:
        """Begin or end a break: the line is held low meanwhile."""
        self.lcr = self.lcr | Lcr.SET_BREAK if on else self.lcr & ~Lcr.SET_BREAK
        await self._access([writing(self.registers.lcr, self.lcr)])

    async def set_modem(self, on: Mcr = Mcr(0), off: Mcr = Mcr(0)) -> None:  # noqa: B008 - frozen
        """Set and clear bits of MCR: assert and drop modem lines."""
        self.mcr = self.mcr & ~off | on
        await self._access([writing(self.registers.mcr, self.mcr)])

    async def set_interrupts(self, on: Ier = Ier(0), off: Ier = Ier(0)) -> None:  # noqa: B008 - so too
        """Set and clear bits of IER; nothing is sent when they are so already."""
        wanted = self.ier & ~off | on
        if wanted != self.ier:
            self.ier = wanted
            await self._access([writing(self.registers.ier, wanted)])

    async def identify(self) -> int:
        """Read what interrupts (an Iir); identifying THR_EMPTY clears it (8.6, table IV)."""
        (value,) = await self._access([self._iir])
        return value & IIR_ID

    async def identify_fifos(self) -> int:
        """Read the bits of IIR that are set while the FIFOs are enabled (IIR_FIFO_ENABLED)."""
        (value,) = await self._access([self._iir])
        return value & IIR_FIFO_ENABLED

    async def modem_status(self) -> int:
        """Read MSR; that clears its deltas, and the modem status interrupt."""
        (value,) = await self._access([reading(self.registers.msr)])
        return value & 0xFF

    async def line_status(self) -> int:
        """Read LSR; errors it shows are kept for the next character."""
        (value,) = await self._access([reading(self.registers.lsr)])
        self._note(value)
        return value & 0xFF

    async def take(self, limit: int) -> Received:
        """Read at most `limit` characters, as long as IIR says "received data": ERBFI must be set.

        So many are in the FIFO then as its trigger level says, and none of them has an error when
        LSR says so: they are read without further looks. The more there were the last time, the
        more one message asks for.
        """
        size, wanted = len(self._group), min(self._groups, limit // (len(self._group) - 2))
        values = await self._access(self._group * wanted + [self._iir])
        # Behind the complete groups come the IIR of the end, or IIR and LSR when a group has ended
        # with an error: LSR was not as its guard expects.
        complete, rest = divmod(len(values), size)
        received = Received(cause=values[-1] & IIR_ID if rest == 1 else None)
        for start in range(0, complete * size, size):
            self._note(values[start + 1])
            self._append(received, values[start + 2 : start + size])
        if rest == 2:
            self._note(values[-1])
        most = (BATCH_LIMIT - 1) // size
        self._groups = min(2 * wanted, most) if 0 < wanted == complete else 1
        return received

    async def poll(self, limit: int) -> Received:
        """Read at most `limit` characters, as long as LSR says that there is one.

        Needs no interrupt; costs two accesses a character. `cause` says nothing (NONE).
        """
        pairs = min(limit, self._pairs)
        values = await self._access(self._pair * pairs)
        received = Received(cause=Iir.NONE)
        for status, character in zip(values[::2], values[1::2], strict=False):
            self._note(status)
            self._append(received, [character])
        if len(values) % 2:
            self._note(values[-1])
        filled = len(values) == 2 * self._pairs
        self._pairs = min(2 * pairs, BATCH_LIMIT // 2) if filled else FIFO_SIZE
        return received

    async def write_burst(self, data: bytes | bytearray | memoryview) -> int:
        """Send as much of the data as the transmitter takes; return how many characters that was.

        A FIFO's worth each time that LSR says that the transmitter is empty; the more it took the
        last time, the more travels in one message.
        """
        size = self.fifo_size
        chunk = data[: self._bursts * size]
        batch: list[Access] = []
        for start in range(0, len(chunk), size):
            batch.append(self._if_room)
            batch += [self._send[character] for character in chunk[start : start + size]]
        values = await self._access(batch)
        for status in values[:: size + 1]:
            self._note(status)
        if len(values) < len(batch):
            self._bursts = 1
            return len(values) // (size + 1) * size
        if len(chunk) == self._bursts * size:
            self._bursts = min(2 * self._bursts, BATCH_LIMIT // (size + 1))
        return len(chunk)

    async def write_registers(self, accesses: Sequence[Access]) -> list[int]:
        """Execute accesses that none of the other methods makes: those of the probe."""
        return await self._access(accesses)

    async def _access(self, batch: Sequence[Access]) -> list[int]:
        """Send one message."""
        self.messages += 1
        return await self.bus.access(batch)

    def _make_group(self, characters: int) -> list[Access]:
        """Make what reads so many characters: two guards, and a run of RBR."""
        registers = self.registers
        return [
            guarding(registers.iir, IIR_ID, Iir.RECEIVED_DATA),
            guarding(registers.lsr, CHARACTER_ERRORS | Lsr.ERROR_IN_RCVR_FIFO, 0),
            *[reading(registers.rbr)] * characters,
        ]

    def _note(self, status: int) -> None:
        """Keep what a read of LSR has cleared."""
        self._flags |= status & CHARACTER_ERRORS
        if status & OVERRUN:
            self.overruns_seen += 1

    def _append(self, received: Received, values: Sequence[int]) -> None:
        """Append characters; errors that were noted belong to the first of them."""
        if self._flags:
            received.errors.append((len(received.data), Lsr(self._flags)))
            self._flags = 0
        # A wide register has zeroes above its eight bits, if the device keeps to the rules.
        received.data += bytes(values if self._narrow else [value & 0xFF for value in values])
