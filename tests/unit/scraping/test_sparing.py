"""Values that are made when asked for, but not more often than is allowed."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from virtmesh.scraping.sparing import BURST, PERIOD_SECONDS, Sparing


class Clock:
    """A clock that goes when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


async def test_who_asks_now_and_then_gets_fresh_values() -> None:
    """None is as old as the request before."""
    clock, numbers = Clock(), itertools.count()

    async def make() -> int:
        return next(numbers)

    values = Sparing(make, clock)
    found = []
    for _ in range(3 * BURST):
        found.append(await values.get())
        clock.now += PERIOD_SECONDS
    assert found == list(range(3 * BURST))


async def test_who_asks_without_end_gets_values_of_this_period() -> None:
    """After the burst, one is made for each period, and given out until the next."""
    clock, numbers = Clock(), itertools.count(1)

    async def make() -> int:
        return next(numbers)

    values = Sparing(make, clock)
    flood = [await values.get() for _ in range(1000)]
    clock.now += PERIOD_SECONDS
    later = [await values.get() for _ in range(1000)]
    assert (flood[-1], set(later), values.made) == (BURST, {BURST + 1}, BURST + 1)


async def test_those_who_ask_meanwhile_share_one_even_if_the_first_gives_up() -> None:
    """It is made once, and goes on when the one who began it is cancelled."""
    go, begun = asyncio.Event(), asyncio.Event()

    async def make() -> str:
        begun.set()
        await go.wait()
        return "made"

    values = Sparing(make)
    first = asyncio.create_task(values.get())
    others = [asyncio.create_task(values.get()) for _ in range(100)]
    await begun.wait()
    first.cancel()
    go.set()
    assert await asyncio.gather(*others) == ["made"] * 100
    assert (first.cancelled(), values.made) == (True, 1)


async def test_a_failure_is_told_to_all_who_wait_and_forgotten() -> None:
    """The next one who asks gets a fresh attempt."""
    outcomes = iter((ValueError("on purpose"), "made"))

    async def make() -> str:
        outcome = next(outcomes)
        if isinstance(outcome, ValueError):
            raise outcome
        return outcome

    values = Sparing(make)
    failed = await asyncio.gather(values.get(), values.get(), return_exceptions=True)
    assert [str(one) for one in failed] == ["on purpose"] * 2
    assert await values.get() == "made"
    with pytest.raises(StopIteration):
        next(outcomes)
