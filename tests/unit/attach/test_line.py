"""What a driver makes of the states of the line that it is told."""

from __future__ import annotations

import asyncio
import os

import pytest

from virtmesh.attach.exchange import Answer, Exchange
from virtmesh.attach.line import LineEventfd, LineObserver
from virtmesh_common.errors import DeviceLost, VirtmeshError


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        pytest.param([(0, 0), (1, 1)], [False, True], id="an interrupt"),
        pytest.param([(5, 1)], [True], id="one that was pending before"),
        pytest.param([(5, 0)], [False], id="none is pending"),
        pytest.param([(1, 1), (1, 0)], [True, False], id="a fall"),
        pytest.param([(1, 3), (1, 2)], [True, False], id="a cause was cleared"),
        pytest.param([(1, 1), (1, 3)], [True, True], id="a cause was added"),
        pytest.param([(1, 1), (2, 1)], [True, True], id="fall and rise merged"),
        pytest.param([(1, 1), (2, 0)], [True, True], id="a pulse"),
    ],
)
def test_interrupts_are_told_from_other_changes(
    states: list[tuple[int, int]], expected: list[bool]
) -> None:
    """An interrupt is a new sequence, or a cause that was not pending before."""
    line = LineObserver()
    assert [line.shows_interrupt(*state) for state in states] == expected


class Registers:
    """A transport that a test answers."""

    def __init__(self) -> None:
        self.asked: list[Exchange] = []

    def submit(self, exchange: Exchange) -> None:
        """Keep a question."""
        self.asked.append(exchange)

    def fail(self, error: VirtmeshError) -> None:
        """Leave out: nobody calls it."""

    def close(self) -> None:
        """Leave out: nobody calls it."""


async def test_one_question_is_under_way_however_often_the_line_is_signalled() -> None:
    """A signal during a question is followed by one more, since the answer may be older."""
    registers, descriptor = Registers(), os.eventfd(0, os.EFD_NONBLOCK)
    line = LineEventfd(descriptor, registers)
    assert len(registers.asked) == 1  # The state at the beginning.
    for _ in range(3):
        os.eventfd_write(descriptor, 1)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert len(registers.asked) == 1
    registers.asked[0].set(Answer([]))
    await asyncio.sleep(0)
    assert len(registers.asked) == 2
    registers.asked[1].set(Answer([]))
    await asyncio.sleep(0)
    assert len(registers.asked) == 2
    line.close()
    os.close(descriptor)


async def test_a_lost_device_is_not_asked_again() -> None:
    """The failure of a question is nobody's to hear: the transport tells the loss."""
    registers, descriptor = Registers(), os.eventfd(1, os.EFD_NONBLOCK)
    line = LineEventfd(descriptor, registers)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    registers.asked[0].fail(DeviceLost("gone"))
    await asyncio.sleep(0)
    assert len(registers.asked) == 1
    line.close()
    os.close(descriptor)
