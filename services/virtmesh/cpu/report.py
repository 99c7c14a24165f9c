"""What the guest did wrong, with the program counters of the first times.

A device judges its driver, and knows no code. The board knows which access a request was made for:
in the answer, the device says that a rule was broken for the first time, and the board keeps tag
and program counter of that request. The device's report has the same tag, so the two belong
together whatever else goes on. A driver that breaks no rule pays nothing.

A device service that dies takes its report with it. What it had told is kept here: its report is
asked for soon after each first violation, and whenever somebody asks. Counts since then are lost.
When the guest boots anew, everything is forgotten.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from virtmesh.cpu.kept_report import merge
from virtmesh.host.report import spell_violation
from virtmesh.report.rules import BOARD_QUIRKS, HOLE
from virtmesh_common.api.device.v1 import device_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from virtmesh.cpu.engine import Engine, Marked
    from virtmesh.cpu.slot_device import SlotDevice
    from virtmesh.cpu.symbols import SymbolTable

PAUSE_S = 0.2
"""How often is looked whether a device has told of a violation."""
MARK_PAUSE_S, MARK_TRIES = 0.01, 50
"""The device can report a violation a moment before the board has read the answer that tells it."""
WRITE, WIDTH = 0x80, 0x7F
"""Bit of a write, and bits of the width, in `op` (Board.violations)."""
OFFSET = 0xFFFF_FFFF
"""Offsets in windows have 32 bits."""


class Reports:
    """The reports of a machine's devices and of its board."""

    def __init__(
        self, engine: Engine, symbols: SymbolTable, devices: Mapping[str, SlotDevice]
    ) -> None:
        self._engine = engine
        self._symbols = symbols
        self._devices = devices

    async def run(self) -> None:
        """Keep what devices tell, until cancelled."""
        seen = dict.fromkeys(self._devices, 0)
        while True:
            await asyncio.sleep(PAUSE_S)
            marks = self._engine.stats().get("marks", 0)
            behind = [name for name, asked_at in seen.items() if asked_at != marks]
            looks = (self._look(self._devices[name]) for name in behind)
            outcomes = await asyncio.gather(*looks, return_exceptions=True)
            for name, outcome in zip(behind, outcomes, strict=True):
                # A device that goes away meanwhile ends its call: it is asked again, and alone.
                if not isinstance(outcome, BaseException):
                    seen[name] = marks

    async def report(self, name: str) -> pb.GetReportResponse | None:
        """Return the report of a device; None if this CPU does not drive it, and knows nothing.

        Errors: DeviceNotFound; ServiceUnavailable and others of a device that does not answer.
        """
        device = self._devices.get(name)
        if device is None:
            return None
        driver = await self._look(device)
        found = (*device.report.violations, *self._of_slot(device.slot))
        if driver is None and not found:
            return None
        return pb.GetReportResponse(
            driver_name=driver or device.name_as_driver, violations=merge(found)
        )

    def board(self) -> list[pb.Violation]:
        """Return what the guest did wrong beside its devices."""
        return list(self._of_slot(None))

    async def _look(self, device: SlotDevice) -> str | None:
        """Ask a device for its report, and keep it. Returns its driver; None if it is not attached.

        Errors: those of the call.
        """
        async with device.report.asking:  # An older answer never takes the place of a newer one.
            link = device.link
            if link is None:
                return None
            answer = await link.report()
            violations = list(answer.violations)
            await self._locate(device.slot, violations)
            # Tags are those of the link: a device that was attached anew meanwhile has others.
            if device.link is link:
                device.report.take(violations)
            return answer.driver_name

    async def _locate(self, slot: int, violations: Iterable[pb.Violation]) -> None:
        """Fill program counter and symbol in, of each violation that a request did."""
        firsts = [one.first for one in violations if one.first.HasField("request_tag")]
        for _ in range(MARK_TRIES):
            marks = self._engine.marks(slot)
            if all(one.request_tag in marks for one in firsts):
                break
            await asyncio.sleep(MARK_PAUSE_S)
        for first in firsts:
            pc = find_pc(first, marks.get(first.request_tag, ()))
            if pc is not None:
                first.pc, first.symbol = pc, self._symbols.name(pc)

    def _of_slot(self, slot: int | None) -> Iterator[pb.Violation]:
        """Return what the board has counted of a slot, or beside all slots (None)."""
        for found in self._engine.violations():
            at, reason, message, count, pc, offset, op, value, time_ns, sequence = found
            # A reason in capitals is a refusal: the device has it in its own report, with its rule.
            if at != slot or reason.isupper():
                continue
            first = pb.FirstViolation(
                sequence=sequence,
                time_ns=time_ns,
                text=message if slot is None else f"{reason}: {message}",
                pc=pc,
                symbol=self._symbols.name(pc),
                driver_side=slot is not None,
            )
            if slot is not None:
                first.access.offset = offset & OFFSET
                first.access.width_bytes = op & WIDTH
                first.access.is_write = bool(op & WRITE)
                first.access.value = value if op & WRITE else 0
            name = HOLE if slot is None else BOARD_QUIRKS.get(reason, f"quirk-{reason}")
            yield spell_violation(name, count, first)


def find_pc(first: pb.FirstViolation, accesses: Sequence[Marked]) -> int | None:
    """Return where the access of a violation was made, of the accesses of its request.

    A request can have held writes before its last access: the device says which access it was. None
    unless one place alone comes into question: a PC that is shown is right.
    """
    places = {pc for pc, *_ in accesses}
    if len(places) > 1 and first.HasField("access"):
        told = first.access
        places = {
            pc
            for pc, offset, op, value in accesses
            if (offset, bool(op & WRITE)) == (told.offset, told.is_write)
            and (value == told.value or not told.is_write)
        }
    return places.pop() if len(places) == 1 else None
