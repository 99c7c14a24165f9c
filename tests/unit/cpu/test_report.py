"""Where a guest broke a rule, and what is kept of a device that is restarted."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from virtmesh.cpu.kept_report import KeptReport
from virtmesh.cpu.report import Reports, find_pc
from virtmesh_common.api.device.v1 import device_pb2 as pb

WRITE_4 = 0x84
HELD = [(0x100, 0x24, WRITE_4, 1), (0x104, 0x20, WRITE_4, 5), (0x108, 0x10, 4, 7)]
"""Two held writes, and the read that they went out with: pc, offset, op, value."""


def first(offset: int | None = None, value: int = 0, *, is_write: bool = True) -> pb.FirstViolation:
    """Return a first violation, by an access if it has an offset."""
    found = pb.FirstViolation(request_tag=3)
    if offset is not None:
        found.access.offset, found.access.value, found.access.is_write = offset, value, is_write
    return found


@pytest.mark.parametrize(
    ("violation", "pc"),
    [
        pytest.param(first(0x24, 1), 0x100, id="the first held write"),
        pytest.param(first(0x20, 5), 0x104, id="the second"),
        pytest.param(first(0x10, is_write=False), 0x108, id="the read; its value is not told"),
        pytest.param(first(0x20, 6), None, id="none of them"),
        pytest.param(first(), None, id="what does not say which access it was"),
    ],
)
def test_of_held_writes_the_one_that_the_device_tells_is_found(
    violation: pb.FirstViolation, pc: int | None
) -> None:
    """A PC is shown if it is that of the access, and not otherwise."""
    assert find_pc(violation, HELD) == pc


def test_two_writes_that_are_alike_have_a_pc_if_it_is_one_place() -> None:
    """A loop writes the same value again and again; two places leave it open which it was."""
    again = [(0x100, 0x24, WRITE_4, 1), (0x100, 0x24, WRITE_4, 1)]
    apart = [(0x100, 0x24, WRITE_4, 1), (0x104, 0x24, WRITE_4, 1)]

    assert find_pc(first(0x24, 1), again) == 0x100
    assert find_pc(first(0x24, 1), apart) is None


def test_a_request_of_one_access_is_that_access_whatever_the_device_saw() -> None:
    """A quirk makes several accesses of one of the guest; no mark at all gives no PC."""
    assert find_pc(first(0x70, 0xB), [(0x200, 0x40, WRITE_4, 9)]) == 0x200
    assert find_pc(first(0x70, 0xB), ()) is None


def test_what_processes_of_a_device_counted_is_one_row_with_the_first_time() -> None:
    """The trace of a process that has ended is gone, so its number is; a new boot has no rows."""
    kept = KeptReport()
    before = pb.FirstViolation(sequence=7, time_ns=10, pc=0x100)
    kept.take([pb.Violation(rule="a", count=2, first=before)])
    kept.end()
    after = pb.FirstViolation(sequence=1, time_ns=20, pc=0x200)
    kept.take([pb.Violation(rule="a", count=3, first=after)])

    [row] = kept.violations
    assert (row.count, row.first.pc, row.first.HasField("sequence")) == (5, 0x100, False)
    kept.forget()
    assert kept.violations == ()


class GoneLink:
    """A link whose first call is cancelled, as a channel does that is closed meanwhile."""

    def __init__(self) -> None:
        self.asked = 0

    async def report(self) -> pb.GetReportResponse:
        """Return a report at the second call."""
        self.asked += 1
        if self.asked == 1:
            raise asyncio.CancelledError
        return pb.GetReportResponse(violations=[pb.Violation(rule="a", count=1)])


async def test_a_device_that_goes_away_while_it_is_asked_is_asked_again() -> None:
    """Nothing that a device does at its end keeps the CPU service from asking the others, once."""
    device = SimpleNamespace(slot=0, link=GoneLink(), report=KeptReport())
    engine: Any = SimpleNamespace(stats=lambda: {"marks": 1}, marks=lambda _slot: {})
    other = SimpleNamespace(slot=1, link=GoneLink(), report=KeptReport())
    other.link.asked = 1
    devices: Any = {"vda": device, "serial": other}
    symbols: Any = None
    task = asyncio.create_task(Reports(engine, symbols, devices).run())
    try:
        while not device.report.violations:
            assert not task.done()
            await asyncio.sleep(0)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    assert device.link.asked == 2
    assert other.link.asked == 2, "who has answered is asked again when there is something new"
