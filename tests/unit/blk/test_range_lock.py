"""The range lock: overlapping ranges take turns, in order; the others don't wait."""

from __future__ import annotations

import asyncio
import random

import pytest

from virtmesh.blk.range_lock import RangeLock


class Scene:
    """Tasks that hold ranges until they are told to let go."""

    def __init__(self) -> None:
        self.lock = RangeLock()
        self.holding: list[str] = []
        self.events: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def enter(self, name: str, start: int, end: int) -> None:
        """Start a task that wants a range, and let it run as far as it gets."""
        self.events[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._hold(name, start, end))
        await self.settle()

    async def leave(self, name: str) -> None:
        """Let a task let go of its range."""
        self.events[name].set()
        await self.tasks[name]
        await self.settle()

    async def settle(self) -> None:
        """Let every task run until it waits."""
        for _ in range(5):
            await asyncio.sleep(0)

    async def _hold(self, name: str, start: int, end: int) -> None:
        async with self.lock.hold(start, end):
            self.holding.append(name)
            await self.events[name].wait()
            self.holding.remove(name)


async def test_disjoint_ranges_run_side_by_side() -> None:
    """Ranges that only touch do not overlap."""
    scene = Scene()

    await scene.enter("a", 0, 10)
    await scene.enter("b", 10, 20)

    assert scene.holding == ["a", "b"]
    await scene.leave("a")
    await scene.leave("b")


async def test_overlapping_ranges_take_turns_in_order() -> None:
    """First come, first served: a small range behind a waiting one does not overtake it."""
    scene = Scene()
    await scene.enter("a", 0, 10)
    await scene.enter("wide", 5, 100)
    await scene.enter("late", 50, 60)

    assert scene.holding == ["a"]
    await scene.leave("a")
    assert scene.holding == ["wide"]
    await scene.leave("wide")
    assert scene.holding == ["late"]
    await scene.leave("late")


async def test_a_range_waits_for_every_one_in_front() -> None:
    """Letting go of one of two ranges in the way is not enough."""
    scene = Scene()
    await scene.enter("a", 0, 10)
    await scene.enter("b", 10, 20)
    await scene.enter("both", 5, 15)

    await scene.leave("b")
    assert scene.holding == ["a"]
    await scene.leave("a")
    assert scene.holding == ["both"]
    await scene.leave("both")


async def test_a_cancelled_waiter_blocks_nobody() -> None:
    """Who gives up waiting is out of the way of those behind."""
    scene = Scene()
    await scene.enter("a", 0, 10)
    await scene.enter("gone", 0, 30)
    await scene.enter("b", 20, 30)

    scene.tasks["gone"].cancel()
    with pytest.raises(asyncio.CancelledError):
        await scene.tasks["gone"]
    await scene.settle()

    assert scene.holding == ["a", "b"]
    await scene.leave("a")
    await scene.leave("b")


async def test_no_two_overlapping_ranges_are_ever_held() -> None:
    """Many tasks, random ranges: the cells they hold are never held twice."""
    chance = random.Random(7)  # noqa: S311 - a test's chance is to be the same each time
    lock = RangeLock()
    taken: set[int] = set()

    async def visit() -> None:
        start = chance.randrange(100)
        cells = set(range(start, start + chance.randrange(1, 20)))
        async with lock.hold(start, start + len(cells)):
            assert not taken & cells
            taken.update(cells)
            await asyncio.sleep(0)
            taken.difference_update(cells)

    await asyncio.gather(*(visit() for _ in range(300)))
    assert taken == set()
