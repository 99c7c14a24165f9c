"""A time limit says TimeoutError, also in a task that is being cancelled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SHORT_S = 0.01
LONG_S = 60.0


async def for_ever() -> None:
    """Wait for what does not come."""
    await asyncio.Event().wait()


async def run_cancelled(clean_up: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
    """Run a task, cancel it, and let it clean up; returns it when it has ended."""
    begun = asyncio.Event()

    async def work() -> None:
        try:
            begun.set()
            await for_ever()
        finally:
            await clean_up()

    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()
    await asyncio.wait([task])
    return task


async def test_a_block_in_time_ends_as_it_does() -> None:
    """Nothing is raised, and nothing later either."""
    async with time_limit(LONG_S):
        await asyncio.sleep(0)


async def test_a_late_block_ends_in_a_timeout_error() -> None:
    """The task itself is not cancelled."""
    with pytest.raises(TimeoutError):
        async with time_limit(SHORT_S):
            await for_ever()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_late_block_of_a_cancelled_task_ends_in_a_timeout_error() -> None:
    """So the steps behind it are done, and the task then ends as cancelled."""
    done: list[str] = []

    async def clean_up() -> None:
        try:
            async with time_limit(SHORT_S):
                await for_ever()
        except TimeoutError:
            done.append("late")
        done.append("the rest")

    task = await run_cancelled(clean_up)

    assert task.cancelled()
    assert done == ["late", "the rest"]


async def test_a_limit_within_a_limit_leaves_the_outer_one_alone() -> None:
    """The inner one ends first; the outer one is then still in time."""
    done: list[str] = []

    async def clean_up() -> None:
        async with time_limit(LONG_S):
            try:
                async with time_limit(SHORT_S):
                    await for_ever()
            except TimeoutError:
                done.append("inner")
        done.append("outer in time")

    await run_cancelled(clean_up)

    assert done == ["inner", "outer in time"]


async def test_a_cancellation_passes_through() -> None:
    """Also a second one, of a task that cleans up: it is no timeout."""
    begun, done = asyncio.Event(), []

    async def clean_up() -> None:
        try:
            async with time_limit(LONG_S):
                begun.set()
                await for_ever()
        except TimeoutError:
            done.append("late")

    running = asyncio.create_task(run_cancelled(clean_up))
    await begun.wait()
    (task,) = [one for one in asyncio.all_tasks() if one.cancelling()]
    task.cancel()
    await running

    assert task.cancelled()
    assert done == []


async def test_an_error_of_the_block_is_raised_as_it_is() -> None:
    """It is not taken for the limit."""
    with pytest.raises(ZeroDivisionError):
        async with time_limit(LONG_S):
            raise ZeroDivisionError
