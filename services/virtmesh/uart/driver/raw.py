"""The registers of an NS16550A, as its driver uses them. Each operation is one batch.

PC16550D data sheet, section 8. A burst of accesses is one batch, with a guard where a value decides
about the next access. So no operation waits for an answer in the middle of a burst.

Reading LSR clears OE and the error bits of the oldest character in the FIFO (8.4). So every read of
LSR here keeps those bits for the character that is read next.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from virtmesh.attach.bus import BATCH_LIMIT, guarding, reading, writing
from virtmesh.attach.cycles import CycleBatch, Prepared
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
"""Trigger level of the receive FIFO, in characters: the highest, for few interrupts."""
FIFOS_ON = Fcr.FIFO_ENABLE | Fcr.RCVR_TRIGGER_LSB | Fcr.RCVR_TRIGGER_MSB


def union(values: Sequence[int]) -> int:
    """Return the bits that any of the values has; of a FIFO's status they are few."""
    return reduce(or_, set(values), 0)


@dataclass
class Received:
    """Received characters in order, with their errors."""

    data: bytearray = field(default_factory=bytearray)
    errors: list[tuple[int, Lsr]] = field(default_factory=list)
    """Characters with errors (PE, FE, BI): index and errors, in ascending order."""
    cause: int | None = None
    """What IIR identified after the last character: an Iir, unless the device breaks the rules.
    None if the next character has an error."""


class NS16550aRaw:
    """The registers of one port, over its bus. Errors of all methods: those of `Bus.access`.

    Calls may overlap: batches are executed and their answers handled in the order of the calls.
    """

    def __init__(self, bus: Bus, layout: Layout | None = None) -> None:
        self.bus = bus
        self.registers = registers = Registers(layout)
        self.fifo_size = 1
        """Size of each FIFO, in characters: 1 until `enable_fifos`."""
        self.overruns_seen = 0
        """Number of times that LSR had OE set. Each time, one character or more was lost."""
        self.character_s = 0.0
        """Time of one character at the current line setting, in seconds."""
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
        """Error bits of the next character, read from LSR before it."""
        self._groups = 1
        """Number of groups that the next `take` asks for. `_bursts` and `_pairs` are the same for
        `write_burst` and `poll`."""
        self._bursts = 1
        self._pairs = FIFO_SIZE
        self._iir = reading(registers.iir)
        self._send = [Prepared.of(writing(registers.thr, one)) for one in range(256)]
        self._if_room = (Prepared.of(guarding(registers.lsr, Lsr.THRE, Lsr.THRE)),)
        self._pair = [guarding(registers.lsr, Lsr.DR, Lsr.DR), reading(registers.rbr)]
        self._if_data = (
            Prepared.of(guarding(registers.iir, IIR_ID, Iir.RECEIVED_DATA)),
            Prepared.of(guarding(registers.lsr, CHARACTER_ERRORS | Lsr.ERROR_IN_RCVR_FIFO, 0)),
        )
        """What a group begins with."""
        self._read = Prepared.of(reading(registers.rbr))
        self._behind = (Prepared.of(self._iir),)
        self._group = 1
        """Characters of a group."""
        self._taking: tuple[tuple[int, int], CycleBatch] | None = None
        """The last batch of groups, and their length and characters."""

    async def enable_fifos(self, size: int) -> None:
        """Empty and enable the FIFOs. `size` is their size in characters, which the probe found."""
        empty = Fcr.RCVR_FIFO_RESET | Fcr.XMIT_FIFO_RESET
        await self._access([writing(self.registers.fcr, FIFOS_ON | empty)])
        self.fifo_size = size
        self._group = TRIGGER if size >= FIFO_SIZE else 1

    async def set_line(self, setting: LineSetting) -> None:
        """Set divisor and format. They take effect at once, in the middle of a character too."""
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
        """Begin or end a break. During a break the line is held low."""
        self.lcr = self.lcr | Lcr.SET_BREAK if on else self.lcr & ~Lcr.SET_BREAK
        await self._access([writing(self.registers.lcr, self.lcr)])

    async def set_modem(self, on: Mcr = Mcr(0), off: Mcr = Mcr(0)) -> None:  # noqa: B008 - frozen
        """Set and clear bits of MCR, which drive the modem lines."""
        self.mcr = self.mcr & ~off | on
        await self._access([writing(self.registers.mcr, self.mcr)])

    async def set_interrupts(self, on: Ier = Ier(0), off: Ier = Ier(0)) -> None:  # noqa: B008 - frozen
        """Set and clear bits of IER. Sends nothing if no bit changes."""
        wanted = self.ier & ~off | on
        if wanted != self.ier:
            self.ier = wanted
            await self._access([writing(self.registers.ier, wanted)])

    async def identify(self) -> int:
        """Read the interrupt that IIR names (an Iir). This clears THR_EMPTY (8.6, table IV)."""
        (value,) = await self._access([self._iir])
        return value & IIR_ID

    async def identify_fifos(self) -> int:
        """Read the bits of IIR that are set while the FIFOs are enabled (IIR_FIFO_ENABLED)."""
        (value,) = await self._access([self._iir])
        return value & IIR_FIFO_ENABLED

    async def modem_status(self) -> int:
        """Read MSR. This clears its deltas and the modem status interrupt."""
        (value,) = await self._access([reading(self.registers.msr)])
        return value & 0xFF

    async def line_status(self) -> int:
        """Read LSR. The errors that it shows are kept for the next character."""
        (value,) = await self._access([reading(self.registers.lsr)])
        self._note(value)
        return value & 0xFF

    async def take(self, limit: int) -> Received:
        """Read at most `limit` characters while IIR identifies received data. ERBFI must be set.

        IIR does so when the FIFO holds as many characters as its trigger level. If LSR shows no
        error either, they are read in one run (a group). The number of groups of a batch doubles
        each time that all of them were read.
        """
        guards, wanted = len(self._if_data), min(self._groups, limit // self._group)
        size = guards + self._group
        values = await self._access(self._take_groups(wanted * self._group))
        # After the complete groups comes IIR alone, or IIR and LSR if the guard of LSR ended the
        # batch: a character has an error.
        complete, rest = divmod(len(values), size)
        received = Received(cause=values[-1] & IIR_ID if rest == 1 else None)
        whole = complete * size
        if self._narrow and not self._flags and not OVERRUN & union(values[1:whole:size]):
            # No error to keep: the characters are what is not a guard.
            data = bytearray(values[:whole])
            for left in range(guards):
                del data[:: size - left]
            received.data = data
        else:
            for start in range(0, whole, size):
                self._note(values[start + 1])
                self._append(received, values[start + guards : start + size])
        if rest == 2:
            self._note(values[-1])
        most = (BATCH_LIMIT - 1) // size
        self._groups = min(2 * wanted, most) if 0 < wanted == complete else 1
        return received

    async def poll(self, limit: int) -> Received:
        """Read at most `limit` characters while LSR has DR set.

        Needs no interrupt, and two accesses for each character. `cause` is always NONE.
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
        """Send as much of the data as the transmitter takes; return the number of characters.

        Each time that LSR shows THRE, a FIFO is filled. The number of these bursts in a batch
        doubles each time that all of them were taken.
        """
        size = self.fifo_size
        chunk = data[: self._bursts * size]
        send = self._send
        batch = CycleBatch(self._if_room, [send[character] for character in chunk], size)
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
        """Execute accesses that no other method makes. The probe uses it."""
        return await self._access(accesses)

    async def _access(self, batch: Sequence[Access]) -> list[int]:
        """Send one batch."""
        self.messages += 1
        return await self.bus.access(batch)

    def _take_groups(self, characters: int) -> CycleBatch:
        """Return the batch that reads so many characters in groups. That of bulk is made once."""
        kind = self._group, characters
        if self._taking is None or self._taking[0] != kind:
            run = [self._read] * characters
            self._taking = kind, CycleBatch(self._if_data, run, self._group, self._behind)
        return self._taking[1]

    def _note(self, status: int) -> None:
        """Keep the bits that a read of LSR has cleared."""
        self._flags |= status & CHARACTER_ERRORS
        if status & OVERRUN:
            self.overruns_seen += 1

    def _append(self, received: Received, values: Sequence[int]) -> None:
        """Append characters. Noted errors belong to the first of them."""
        if self._flags:
            received.errors.append((len(received.data), Lsr(self._flags)))
            self._flags = 0
        # Above bit 7 a wide register reads 0, unless the device breaks the rules.
        received.data += bytes(values if self._narrow else [value & 0xFF for value in values])
