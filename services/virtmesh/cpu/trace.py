"""The file with each register access of the guest, and where in its code the guest made it.

One JSON object a line: `ns` (CLOCK_MONOTONIC), `pc`, `symbol` where the kernel's file has one,
`device`, `register` by name, `offset`, `op` ("read" or "write"), `width` in bytes, `value`; with
`dropped`, how many accesses are missing here, since they came faster than they were written.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, TextIO

import structlog

from virtmesh.kinds import kind_of
from virtmesh_common.virtio.mmio import COMPATIBLE as VIRTIO_MMIO
from virtmesh_common.virtio.mmio import REGISTERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from virtmesh.cpu.engine import Engine, Logged
    from virtmesh.cpu.slot_device import SlotDevice
    from virtmesh.cpu.symbols import SymbolTable
    from virtmesh_common.registers import Register

log = structlog.get_logger(__name__)

PAUSE_S = 0.1
"""How often the log of the board is written out; it keeps 65,536 accesses."""
WRITE = 0x80
"""Bit of `op` of a write (Board.drain_accesses)."""


class TraceFile:
    """Writes accesses to a file, in a task. Errors: OSError for a file that can't be written."""

    def __init__(
        self,
        path: Path,
        engine: Engine,
        devices: Iterable[SlotDevice],
        symbols: SymbolTable,
    ) -> None:
        try:
            self._file: TextIO = path.open("w", encoding="utf-8")
        except OSError as error:
            raise OSError(f"the trace {path} can't be written: {error.strerror}") from error
        self._engine = engine
        self._symbols = symbols
        self._devices: Mapping[int, SlotDevice] = {one.slot: one for one in devices}
        self._names: dict[tuple[int, int, int], str] = {}
        self._dropped = 0

    async def run(self) -> None:
        """Write accesses until cancelled; a full disk ends it, with a line in the log."""
        try:
            while True:
                await asyncio.sleep(PAUSE_S)
                await asyncio.to_thread(self.flush)
        except OSError as error:
            log.warning("the trace ends: its file can't be written", error=error.strerror)

    def flush(self) -> None:
        """Write the accesses that have come. Errors: OSError."""
        self._file.writelines(self._lines(self._engine.drain_accesses()))
        dropped = self._engine.stats().get("accesses_dropped", 0)
        if dropped != self._dropped:
            self._file.write(json.dumps({"dropped": dropped - self._dropped}) + "\n")
            self._dropped = dropped
        self._file.flush()

    def close(self) -> None:
        """Write the rest, and close the file."""
        try:
            self.flush()
            self._file.close()
        except OSError as error:
            log.warning("the trace can't be written", error=error.strerror)

    def _lines(self, accesses: Iterable[Logged]) -> Iterator[str]:
        """Spell accesses."""
        for slot, pc, offset, op, value, time_ns in accesses:
            device = self._devices.get(slot)
            width = op & ~WRITE
            fields: dict[str, object] = {"ns": time_ns, "pc": f"{pc:#x}"}
            if symbol := self._symbols.name(pc):
                fields["symbol"] = symbol
            fields |= {
                "device": device.node.name if device else "",
                "register": self._name(device, slot, offset, op) if device else "",
                "offset": offset,
                "op": "write" if op & WRITE else "read",
                "width": width,
                "value": f"{value:#x}",
            }
            yield json.dumps(fields) + "\n"

    def _name(self, device: SlotDevice, slot: int, offset: int, op: int) -> str:
        """Return the name of a register; empty where nothing is known."""
        key = slot, offset, op & WRITE
        if key not in self._names:
            self._names[key] = find_name(device, offset, is_write=bool(op & WRITE))
        return self._names[key]


def find_name(device: SlotDevice, offset: int, *, is_write: bool) -> str:
    """Return the name of the register at an offset, of the first that may be meant."""
    kind = kind_of(device.node.compatible, device.device_id)
    own = kind.registers if kind is not None else ()
    is_virtio = VIRTIO_MMIO in device.node.compatible
    shift = 0 if is_virtio else device.node.properties.get("reg-shift", 0)
    way = "W" if is_write else "R"
    for register in (*REGISTERS, *own) if is_virtio else own:
        if covers(register, offset >> shift) and way in register.access.value:
            return register.name
    return ""


def covers(register: Register, offset: int) -> bool:
    """Say whether an offset lies in a register."""
    return register.offset <= offset < register.offset + register.size
