"""Parts of drivers: the pool, doorbells that call, RAM and its pages."""

from __future__ import annotations

import asyncio
import fcntl
import weakref
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtmesh.attach.guest_ram import PAGE, SEALS, PageAllocator, Ram
from virtmesh.attach.notifier import CallNotifier
from virtmesh.drivers.pool import Pool
from virtmesh_common.errors import DeviceLost, VirtmeshError


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_pool_serves_waiters_in_order() -> None:
    """A newcomer does not overtake a waiter, even when the thing has just come back."""
    pool = Pool(["slot"])
    thing = await pool.take()
    order: list[str] = []

    async def want(name: str) -> None:
        got = await pool.take()
        order.append(name)
        pool.give(got)

    first, second = asyncio.create_task(want("first")), asyncio.create_task(want("second"))
    await settle()
    pool.give(thing)
    newcomer = asyncio.create_task(want("newcomer"))
    await asyncio.gather(first, second, newcomer)

    assert order == ["first", "second", "newcomer"]
    assert pool.waits.count == 3


async def test_pool_that_fails_fails_whoever_was_just_served() -> None:
    """A thing that was handed over, and that nobody has yet, is of no use any more."""
    pool = Pool(["slot"])
    thing = await pool.take()
    waiting = asyncio.create_task(pool.take())
    await settle()

    pool.give(thing)
    pool.fail(lambda: DeviceLost("gone"))

    with pytest.raises(DeviceLost):
        await waiting


async def test_pool_loses_nothing_to_a_cancelled_waiter() -> None:
    """A thing that was handed to a task in the moment of its cancellation goes on to the next."""
    pool = Pool(["slot"])
    thing = await pool.take()
    cancelled = asyncio.create_task(pool.take())
    waiting = asyncio.create_task(pool.take())
    await settle()

    pool.give(thing)
    cancelled.cancel()

    assert await waiting == "slot"
    with pytest.raises(asyncio.CancelledError):
        await cancelled


async def test_failed_pool_fails_everyone() -> None:
    """Those who wait and those who come later get the error."""
    pool: Pool[str] = Pool([])
    waiting = asyncio.create_task(pool.take())
    await settle()

    pool.fail(lambda: DeviceLost("gone"))

    with pytest.raises(DeviceLost):
        await waiting
    with pytest.raises(DeviceLost):
        await pool.take()


async def test_failed_pool_lets_go_of_everything() -> None:
    """What it held, and what is given back to it later, is nobody's any more."""
    things = [Ram(PAGE), Ram(PAGE)]
    free, taken = map(weakref.ref, things)
    pool = Pool(things)
    given_back = things.pop()
    await pool.take()
    for ram in (things.pop(), given_back):
        ram.close()

    pool.fail(lambda: DeviceLost("gone"))
    pool.give(given_back)
    del ram, given_back

    assert (free(), taken()) == (None, None)


async def test_call_doorbell_merges_rings() -> None:
    """Rings that come while a call travels make one more call, with each queue once."""
    calls: list[list[int]] = []
    travels = asyncio.Event()
    second = asyncio.Event()

    async def call(queues: Sequence[int]) -> None:
        calls.append(list(queues))
        if len(calls) == 1:
            await travels.wait()
        else:
            second.set()

    doorbell = CallNotifier(call, lambda error: pytest.fail(str(error)))
    doorbell.ring(1)
    await settle()
    for queue in (3, 0, 3, 0):
        doorbell.ring(queue)
    travels.set()
    await second.wait()
    doorbell.close()

    assert calls == [[1], [0, 3]]


async def test_call_doorbell_reports_failure() -> None:
    """A call that fails is reported to the owner."""
    failure: asyncio.Future[VirtmeshError] = asyncio.get_running_loop().create_future()

    async def call(_: Sequence[int]) -> None:
        raise DeviceLost("gone")

    CallNotifier(call, failure.set_result).ring(0)

    assert isinstance(await failure, DeviceLost)


def test_ram_is_sealed_and_shared() -> None:
    """The file can't change its size, and both mappings see the same bytes."""
    with Ram(1 << 20) as ram:
        seals = fcntl.fcntl(ram.descriptor, fcntl.F_GET_SEALS)
        with ram.view(ram.address + 100, 5) as view:
            view[:] = b"hello"

        assert seals == SEALS
        assert ram.guest_memory.read(ram.address + 100, 5) == b"hello"


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (1 << 20, 1), (0, (1 << 20) + 1), (5, -1)])
def test_views_outside_of_ram_are_refused(offset: int, length: int) -> None:
    """No slice wraps around or is cut short."""
    with Ram(1 << 20) as ram, pytest.raises(ValueError, match="not in RAM"):
        ram.view(ram.address + offset, length)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 5 * PAGE)), max_size=60))
def test_pages_are_never_handed_out_twice(steps: list[tuple[bool, int]]) -> None:
    """Allocations never overlap, and when all is given back all is in one piece again."""
    total = 32 * PAGE
    pages = PageAllocator(0, total)
    held: dict[int, int] = {}
    for take, number in steps:
        if not take and held:
            address = sorted(held)[number % len(held)]
            pages.release(address)
            del held[address]
            continue
        try:
            address = pages.allocate(number)
        except MemoryError:
            continue
        held[address] = number
        ranges = sorted((start, start + length) for start, length in held.items())
        assert all(end <= start for (_, end), (start, _) in pairwise(ranges))
        assert ranges[-1][1] <= total
    for address in held:
        pages.release(address)
    assert pages.free_bytes == total
    assert pages.allocate(total) == 0


def test_pages_refuse_nonsense() -> None:
    """Nothing can't be allocated, and nothing can be released twice."""
    pages = PageAllocator(0, 4 * PAGE)
    address = pages.allocate(1)
    pages.release(address)

    with pytest.raises(ValueError, match="can't be allocated"):
        pages.allocate(0)
    with pytest.raises(ValueError, match="nothing is allocated"):
        pages.release(address)
