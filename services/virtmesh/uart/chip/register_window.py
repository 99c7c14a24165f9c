"""The register window of the NS16550A: the table, bound to the chip (PC16550D, table II)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.mmio.register_file import RegisterFile
from virtmesh.mmio.reserved_bits import ReservedBits
from virtmesh.uart.chip.format import BYTE
from virtmesh_common.uart.spec import Layout, Registers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtmesh_native import Interrupt

    from virtmesh.uart.chip.chip import Chip


class Window:
    """The registers of one chip. DLAB selects one of two tables; the places are the same."""

    def __init__(
        self,
        chip: Chip,
        layout: Layout,
        *,
        auto_flow: bool = False,
        interrupt: Interrupt | None = None,
    ) -> None:
        table = Registers(layout, auto_flow=auto_flow)
        self.table = table.table
        """Every register, whatever DLAB says."""
        self._chip = chip
        self._data = table.rbr
        self._largest = (1 << 8 * layout.reg_io_width) - 1
        readers = {
            table.rbr: chip.read_rbr,
            table.ier: chip.read_ier,
            table.iir: chip.read_iir,
            table.lcr: chip.read_lcr,
            table.mcr: chip.read_mcr,
            table.lsr: chip.read_lsr,
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
        reserved_bits = ReservedBits(interrupt)
        self._main, self._latch = (
            RegisterFile(bank, readers=readers, writers=writers, reserved_bits=reserved_bits)
            for bank in (table.main, table.latch)
        )
        self._thr = table.thr

    @property
    def files(self) -> tuple[RegisterFile, RegisterFile]:
        """The tables, with their counters."""
        return self._main, self._latch

    def read(self, offset: int, width: int) -> int:
        """Read a register. Errors: as RegisterFile.read."""
        self._chip.timeline.settle()
        return self._selected.read(offset, width)

    def write(self, offset: int, width: int, value: int) -> None:
        """Write a register; of a wide one, the bits above the lowest 8 mean nothing.

        Errors: as RegisterFile.write.
        """
        self._chip.timeline.settle()
        self._selected.write(offset, width, value)

    def read_run(self, offset: int, width: int, count: int) -> Sequence[int] | None:
        """Read RBR `count` times; None for other registers, and where one by one is the way."""
        if not self._is_data(offset, width):
            return None
        read = self._chip.read_run(count)
        if read is not None:
            self._main.reads[self._data.name] += count
        return read

    def write_run(self, offset: int, width: int, values: Sequence[int]) -> int | None:
        """Write values to THR; None for other registers, and where one by one is the way."""
        if not self._is_data(offset, width) or max(values) > self._largest or min(values) < 0:
            return None
        characters = bytes(values) if width == 1 else bytes(value & BYTE for value in values)
        if not self._chip.write_run(characters):
            return None
        self._main.writes[self._thr.name] += len(values)
        return len(values)

    @property
    def _selected(self) -> RegisterFile:
        """The table that DLAB selects."""
        return self._latch if self._chip.latch_selected else self._main

    def _is_data(self, offset: int, width: int) -> bool:
        """Say whether an access is one of RBR or THR."""
        data = self._data
        return offset == data.offset and width == data.size and not self._chip.latch_selected
