"""BatchExecutor: batches of register accesses, one by one and in runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtmesh.host.batch import GUARD, WRITE, BatchExecutor, BatchResult
from virtmesh.mmio.device import Device
from virtmesh.mmio.register_file import RegisterFile
from virtmesh_common.errors import (
    BadWidth,
    NotAttached,
    NotReadable,
    NotWritable,
    RegisterError,
    UnknownRegister,
)
from virtmesh_common.registers import Access, Register

FIFO = Register("FIFO", 0x0, Access.RW, "-", "numbers, first in, first out", size=1, widths=(1,))
LEVEL = Register("LEVEL", 0x1, Access.R, "-", "how many there are", size=1, widths=(1,))
RESET = Register("RESET", 0x2, Access.W, "-", "empties", size=1, widths=(1,))
WIDE = Register("WIDE", 0x8, Access.R, "-", "a constant", size=8, widths=(8,), reset=7)

READ_FIFO = (FIFO.offset, 1, 0)
READ_LEVEL = (LEVEL.offset, 1, 0)


def push(value: int) -> tuple[int, int, int]:
    """Make the access that puts a number in."""
    return FIFO.offset, 1 | WRITE, value


def guard(register: Register, mask: int, expected: int, width: int = 1) -> tuple[int, int, int]:
    """Make a guard."""
    return register.offset, width | GUARD, mask << 32 | expected


class Fifo:
    """A device with a FIFO behind one offset; reading an empty one brings 0."""

    settling = False

    def __init__(self, numbers: Sequence[int] = ()) -> None:
        self.numbers = list(numbers)
        self.registers = RegisterFile(
            (FIFO, LEVEL, RESET, WIDE),
            readers={FIFO: self._pop, LEVEL: lambda: len(self.numbers)},
            writers={FIFO: self.numbers.append, RESET: lambda _: self.numbers.clear()},
        )

    def read(self, offset: int, width: int) -> int:
        """Read a register."""
        return self.registers.read(offset, width)

    def write(self, offset: int, width: int, value: int) -> None:
        """Write a register."""
        self.registers.write(offset, width, value)

    def _pop(self) -> int:
        """Take the first number out."""
        return self.numbers.pop(0) if self.numbers else 0


class SlowReset(Fifo):
    """One whose RESET takes until somebody waits for it."""

    def write(self, offset: int, width: int, value: int) -> None:
        """Write a register."""
        super().write(offset, width, value)
        self.settling = offset == RESET.offset

    async def reset_done(self) -> bool:
        """Complete the reset."""
        self.settling = False
        return True


class BurstFifo(Fifo):
    """The same with runs, where they are of the FIFO, in full."""

    def __init__(self, numbers: Sequence[int] = ()) -> None:
        super().__init__(numbers)
        self.runs: list[int] = []

    def read_run(self, offset: int, width: int, count: int) -> Sequence[int]:
        """Read many numbers."""
        if (offset, width) != (FIFO.offset, 1) or count > len(self.numbers):
            return ()
        self.runs.append(count)
        taken = self.numbers[:count]
        del self.numbers[:count]
        return taken

    def write_run(self, offset: int, width: int, values: Sequence[int]) -> int:
        """Write many numbers."""
        if (offset, width) != (FIFO.offset, 1) or max(values) > 0xFF:
            return 0
        self.runs.append(len(values))
        self.numbers += values
        return len(values)


@pytest.fixture(params=[Fifo, BurstFifo])
def fifo(request: pytest.FixtureRequest) -> Fifo:
    """Make the device in both ways."""
    device: Fifo = request.param()
    return device


def execute(device: Fifo, *accesses: tuple[int, int, int]) -> BatchResult:
    """Execute a batch."""
    offsets, ops, values = ([access[column] for access in accesses] for column in range(3))
    return BatchExecutor(cast("Device", device)).execute(offsets, ops, values)


def test_accesses_take_place_in_order(fifo: Fifo) -> None:
    """A read behind a write sees it; writes have the value 0, and are counted."""
    done = execute(fifo, push(5), push(6), READ_LEVEL, READ_FIFO, READ_FIFO, READ_LEVEL)

    assert (done.values, done.writes, done.error) == ([0, 0, 2, 5, 6, 0], 2, None)


def test_an_empty_batch_is_a_batch(fifo: Fifo) -> None:
    """Nothing is executed, and nothing is wrong."""
    done = execute(fifo)

    assert (done.values, done.writes, done.error) == ([], 0, None)


@pytest.mark.parametrize(
    ("access", "error"),
    [
        ((0x40, 1, 0), UnknownRegister),
        ((LEVEL.offset, 1 | WRITE, 0), NotWritable),
        ((RESET.offset, 1, 0), NotReadable),
        ((FIFO.offset, 0, 0), BadWidth),
        ((FIFO.offset, WRITE, 0), BadWidth),
        ((FIFO.offset, 1 | GUARD | WRITE, 0), BadWidth),
        ((FIFO.offset, 0xFFFF_FFFF, 0), BadWidth),
        ((FIFO.offset, 0x100, 0), BadWidth),
        (guard(WIDE, 0xFF, 7, width=8), BadWidth),
        (guard(RESET, 0, 0), NotReadable),
        ((LEVEL.offset, GUARD, 0), BadWidth),
    ],
)
@pytest.mark.parametrize("times", [1, 3])
def test_a_refused_access_ends_the_batch(
    fifo: Fifo, access: tuple[int, int, int], error: type[RegisterError], times: int
) -> None:
    """What is before it was executed, what is behind it was not, be it in a run or not."""
    done = execute(fifo, push(5), READ_LEVEL, *[access] * times, push(6))

    assert (done.values, done.writes) == ([0, 1], 1)
    assert type(done.error) is error
    assert fifo.numbers == [5]


def test_a_value_that_does_not_fit_ends_its_run(fifo: Fifo) -> None:
    """The numbers before it are in, those behind it are not."""
    done = execute(fifo, push(5), push(0x100), push(6))

    assert (done.values, done.writes, fifo.numbers) == ([0], 1, [5])
    assert done.error is not None


def test_a_guard_that_is_met_lets_the_batch_go_on(fifo: Fifo) -> None:
    """Only the bits of its mask count."""
    fifo.numbers[:] = [9] * 5

    done = execute(fifo, guard(LEVEL, 0x06, 0x04), READ_FIFO)

    assert (done.values, done.error) == ([5, 9], None)


def test_a_guard_that_is_not_met_ends_the_batch(fifo: Fifo) -> None:
    """Its value is the last one, and there is no error."""
    done = execute(fifo, push(5), guard(LEVEL, 0xFF, 2), push(6))

    assert (done.values, done.writes, done.error) == ([0, 1], 1, None)
    assert fifo.numbers == [5]


def test_each_guard_of_a_run_is_looked_at(fifo: Fifo) -> None:
    """Guards at the same place are not one access: the second one here is not met."""
    done = execute(fifo, push(5), guard(LEVEL, 1, 1), guard(LEVEL, 2, 2), READ_FIFO)

    assert (done.values, fifo.numbers) == ([0, 1, 1], [5])


def test_a_guard_has_effects_like_any_read(fifo: Fifo) -> None:
    """One of the FIFO takes a number out."""
    fifo.numbers[:] = [1, 2]

    done = execute(fifo, guard(FIFO, 0xFF, 1), READ_LEVEL)

    assert done.values == [1, 1]


def test_runs_are_handed_over_in_one_piece() -> None:
    """Twelve equal accesses are one call; so is each group of four behind its guard."""
    device = BurstFifo()

    done = execute(device, *map(push, range(12)), *[guard(LEVEL, 8, 8), *[READ_FIFO] * 4] * 3)

    assert device.runs == [12, 4, 4]
    assert done.values == [0] * 12 + [12, 0, 1, 2, 3] + [8, 4, 5, 6, 7] + [4]


def test_a_single_access_is_no_run() -> None:
    """It is executed as such."""
    device = BurstFifo([3])

    assert execute(device, READ_FIFO, READ_LEVEL, push(4)).values == [3, 0, 0]
    assert device.runs == []


def test_a_run_that_is_declined_is_executed_one_by_one() -> None:
    """Three reads of a FIFO that has two numbers: the device says None, each is executed."""
    device = BurstFifo([1, 2])

    assert execute(device, *[READ_FIFO] * 3).values == [1, 2, 0]
    assert device.runs == []


ANY_ACCESS = st.one_of(
    st.just(READ_FIFO),
    st.just(READ_LEVEL),
    st.builds(push, st.integers(0, 0x101)),
    st.builds(guard, st.just(LEVEL), st.integers(0, 3), st.integers(0, 3)),
    st.tuples(st.integers(0, 9), st.integers(0, 0x1FF), st.integers(0, (1 << 64) - 1)),
)


@given(st.lists(st.tuples(ANY_ACCESS, st.integers(1, 5)), max_size=12))
def test_runs_make_no_difference(pieces: Sequence[tuple[tuple[int, int, int], int]]) -> None:
    """Any batch does the same on a device that knows runs as on one that does not."""
    batch = [access for access, times in pieces for _ in range(times)]
    plain, burst = Fifo(), BurstFifo()

    expected, done = execute(plain, *batch), execute(burst, *batch)

    assert (done.values, done.writes) == (expected.values, expected.writes)
    assert type(done.error) is type(expected.error)
    assert burst.numbers == plain.numbers


RESETS = (
    [FIFO.offset, RESET.offset, FIFO.offset, LEVEL.offset],
    [0x81, 0x81, 0x81, 1],
    [7, 0, 8, 0],
)


async def test_a_write_that_begins_a_reset_is_waited_for() -> None:
    """The rest of the batch finds the device reset, and the answer is one."""
    executor = BatchExecutor(cast("Device", SlowReset()))
    waits: list[None] = []
    done = await executor.execute_waiting(*RESETS, check=lambda: waits.append(None))
    assert (done.values, done.writes, done.waiting, len(waits)) == ([0, 0, 0, 1], 3, False, 1)


async def test_who_may_not_go_on_after_a_reset_does_not() -> None:
    """Another driver may have attached meanwhile: nothing more is done to its device."""
    device = SlowReset()

    def check() -> None:
        raise NotAttached("another driver has it")

    with pytest.raises(NotAttached):
        await BatchExecutor(cast("Device", device)).execute_waiting(*RESETS, check=check)
    assert device.numbers == []
