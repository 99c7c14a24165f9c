"""find_cycles: the same guards before as many equal accesses, at the beginning of a batch."""

from __future__ import annotations

import pytest

from virtmesh.host.batch import GUARD, WRITE
from virtmesh.host.cycles import PERIOD_MAX, find_cycles
from virtmesh.mmio.device import Cycles, Guard

Entries = list[tuple[int, int, int]]

IF_ROOM = (5, 1 | GUARD, 0x20 << 32 | 0x20)
IF_DATA = (2, 1 | GUARD, 0x0F << 32 | 0x04)
READ = (0, 1, 0)


def writes(data: bytes) -> Entries:
    """Make writes of one register."""
    return [(0, 1 | WRITE, one) for one in data]


def find(batch: Entries) -> Cycles | None:
    """Look for cycles."""
    return find_cycles(*([access[column] for access in batch] for column in range(3)))


def test_reads_behind_guards_are_found() -> None:
    """What follows the last whole cycle does not matter."""
    found = find([*[IF_DATA, IF_ROOM, READ, READ, READ] * 4, IF_DATA, READ])

    expected = (Guard(2, 1, 0x0F, 4), Guard(5, 1, 0x20, 0x20))
    assert found == Cycles(expected, offset=0, width=1, length=3, times=4, writes=None)


def test_the_values_of_all_writes_are_found() -> None:
    """In order, without those of the guards."""
    found = find([IF_ROOM, *writes(b"ab"), IF_ROOM, *writes(b"cd"), IF_ROOM, *writes(b"e")])

    assert found == Cycles((Guard(5, 1, 0x20, 0x20),), 0, 1, 2, 2, list(b"abcd"))


@pytest.mark.parametrize(
    "batch",
    [
        [],
        [IF_ROOM],
        [IF_ROOM] * 8,
        [READ] * 8,
        [IF_ROOM, READ, READ],
        [IF_ROOM, READ, READ, IF_DATA, READ, READ],
        [IF_ROOM, READ, READ, IF_ROOM, *writes(b"ab")],
        [IF_ROOM, READ, READ, IF_ROOM, READ, (1, 1, 0)],
        [IF_ROOM, READ, (5, 1 | GUARD, 1), READ],
        [IF_ROOM, READ, IF_ROOM, IF_ROOM] * 2,
        [IF_ROOM, READ, (1, 1, 0)] * 2,
        [IF_ROOM, READ, (0, 1 | WRITE, 0)] * 2,
        [IF_ROOM, READ, (5, 1, 0), READ] * 2,
        [(5, 1 | GUARD | WRITE, 0), READ] * 2,
        [IF_ROOM, *[READ] * PERIOD_MAX] * 2,
    ],
)
def test_other_batches_are_executed_as_they_are(batch: Entries) -> None:
    """Without guards, with others each time, with too many, or once only."""
    assert find(batch) is None
