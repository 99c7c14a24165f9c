"""The register window of the NS16550A: the table, bound to the chip (PC16550D, table II).

Invariant: an access sees the chip of now, since what is due has run before it, and leaves the line
settled. A run of accesses has the effects of the same accesses one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.mmio.register_file import RegisterFile
from virtmesh.uart.chip.format import BYTE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtmesh.mmio.device import Cycles
    from virtmesh.mmio.reserved_bits import ReservedBits
    from virtmesh.report.observer import Observer
    from virtmesh.uart.chip.chip import Chip
    from virtmesh.uart.line.line import SerialLine
    from virtmesh_common.uart.spec import Registers


class RegisterWindow:
    """The registers of one chip. DLAB selects one of two tables; the places are the same."""

    def __init__(
        self,
        chip: Chip,
        line: SerialLine,
        table: Registers,
        reserved_bits: ReservedBits,
        observer: Observer,
    ) -> None:
        self.table = table.table
        """Every register, whatever DLAB says."""
        self._chip = chip
        self._line = line
        self._rbr = table.rbr
        self._thr = table.thr
        self._lsr = table.lsr
        self._shown_at = {
            table.iir.offset: (table.iir, chip.look_at_iir),
            table.lsr.offset: (table.lsr, chip.look_at_lsr),
        }
        """Registers that may show the same several times, and what tells without reading them."""
        self._largest = (1 << 8 * table.layout.reg_io_width) - 1
        readers = {
            table.rbr: self._read_rbr,
            table.ier: chip.read_ier,
            table.iir: chip.read_iir,
            table.lcr: chip.read_lcr,
            table.mcr: chip.read_mcr,
            table.lsr: self._read_lsr,
            table.msr: chip.read_msr,
            table.scr: chip.read_scr,
            table.dll: chip.read_dll,
            table.dlm: chip.read_dlm,
        }
        writers = {
            table.thr: chip.write_thr,
            table.ier: chip.write_ier,
            table.fcr: chip.write_fcr,
            table.lcr: chip.write_lcr,
            table.mcr: chip.write_mcr,
            table.scr: chip.write_scr,
            table.dll: chip.write_dll,
            table.dlm: chip.write_dlm,
        }
        watched = (table.fcr, table.lcr, table.dll, table.dlm)
        readers, self._writers = observer.watch(watched, readers, writers)
        self._tell_thr = observer.watched_writer(table.thr, lambda _: None)
        self._main, self._latch = (
            RegisterFile(
                bank,
                readers=readers,
                writers=self._writers,
                reserved_bits=reserved_bits,
                observer=observer,
            )
            for bank in (table.main, table.latch)
        )
        self.watch_first_character()

    def watch_first_character(self) -> None:
        """Have the observer see the next write of THR, and no more: it is the hot path."""
        self._first_character = True
        self._writers[self._thr] = self._write_first

    def _write_first(self, value: int) -> None:
        """Write THR, the first time since `watch_first_character`."""
        self._chip.write_thr(value)
        self._tell_first(value)

    def _tell_first(self, value: int) -> None:
        """Tell the observer of the first character, and of no more."""
        self._first_character = False
        self._writers[self._thr] = self._chip.write_thr
        self._tell_thr(value)

    @property
    def files(self) -> tuple[RegisterFile, RegisterFile]:
        """The tables, with their counters."""
        return self._main, self._latch

    def read(self, offset: int, width: int) -> int:
        """Read a register.

        Errors: BadWidth, UnknownRegister, Misaligned, NotReadable.
        """
        self._line.timeline.run_due()
        value = self._selected.read(offset, width)
        if self._chip.changed:
            self._line.settle()
        return value

    def write(self, offset: int, width: int, value: int) -> None:
        """Write a register; of a wide one, the bits above the lowest 8 mean nothing.

        Errors: BadWidth, UnknownRegister, Misaligned, NotWritable, BadValue.
        """
        self._line.timeline.run_due()
        self._selected.write(offset, width, value)
        if self._chip.changed:
            self._line.settle()

    def read_run(self, offset: int, width: int, count: int) -> bytes:
        """Read RBR at most `count` times in one piece; nothing of another register."""
        if not self._is_data(offset, width):
            return b""
        self._line.timeline.run_due()
        if read := self._line.read_run(count):
            self._main.reads[self._rbr.name] += len(read)
        return read

    def write_run(self, offset: int, width: int, values: Sequence[int]) -> int:
        """Write values to THR in one piece; return how many: all, or none.

        None to another register, and none where a value does not fit: one by one, the first
        that does not is refused.
        """
        if not self._is_data(offset, width) or (characters := self._characters(values)) is None:
            return 0
        self._line.timeline.run_due()
        if written := self._chip.write_run(characters):
            self._main.writes[self._thr.name] += written
            if self._first_character:
                self._tell_first(values[0])
            self._line.settle()
        return written

    def run_cycles(self, cycles: Cycles) -> Sequence[int]:
        """Execute cycles in one piece in which IIR and LSR show the same each time; or none.

        Those before reads of RBR do while what is read is replaced at once: the FIFO is as full
        before each guard as before the first, and nothing else happens in between. LSR before
        writes of THR does since each character is sent the moment it is written.
        """
        chip, length = self._chip, cycles.length
        if not self._is_data(cycles.offset, cycles.width) or not chip.listening:
            return ()
        self._line.timeline.run_due()
        shown = self._steady(cycles)
        if shown is None:
            return ()
        if cycles.writes is not None:
            times = self.write_run(cycles.offset, cycles.width, cycles.writes) // length
            values = [*shown, *[0] * length] * times
        else:
            read = self._line.read_refilled(length, cycles.times)
            times = len(read) // length
            self._main.reads[self._rbr.name] += len(read)
            head = bytes(shown)
            ends = range(0, len(read), length)
            values = list(b"".join([head + read[start : start + length] for start in ends]))
        for guard in cycles.guards:
            self._main.reads[self._shown_at[guard.offset][0].name] += times
        return values

    def _steady(self, cycles: Cycles) -> list[int] | None:
        """Return what the guards of cycles show; None where that changes, or ends the batch."""
        shown = []
        for guard in cycles.guards:
            register, look = self._shown_at.get(guard.offset, (self._rbr, lambda: None))
            # A write of THR changes what IIR shows.
            if guard.width != register.size or (cycles.writes and register is not self._lsr):
                return None
            value = look()
            if value is None or value & guard.mask != guard.expected:
                return None
            shown.append(value)
        return shown

    def _characters(self, values: Sequence[int]) -> bytes | None:
        """Return the lowest 8 bits of each value; None where one does not fit the register."""
        if self._largest == BYTE:
            try:
                return bytes(values)
            except ValueError:
                return None
        if max(values) > self._largest or min(values) < 0:
            return None
        return bytes(value & BYTE for value in values)

    def _read_rbr(self) -> int:
        """Read RBR. Whoever waits for a driver that looks for characters has sent by then."""
        self._line.listen()
        return self._chip.read_rbr()

    def _read_lsr(self) -> int:
        """Read LSR. Whoever waits for a driver that looks for characters has sent by then."""
        self._line.listen()
        return self._chip.read_lsr()

    @property
    def _selected(self) -> RegisterFile:
        """The table that DLAB selects."""
        return self._latch if self._chip.latch_selected else self._main

    def _is_data(self, offset: int, width: int) -> bool:
        """Say whether an access is one of RBR or THR."""
        data = self._rbr
        return offset == data.offset and width == data.size and not self._chip.latch_selected
