"""Awaited calls share threads: few for many calls, and none that starves or deadlocks."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest

from virtmesh_client.aio.threads import THREADS, Threads, run, run_in
from virtmesh_client.channel import Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

CALLS = 200
SOON_SECONDS = 20.0
"""Limit for what must not take forever."""
FORKING = """
import asyncio, os
from virtmesh_client.aio.threads import SHARED, run

async def call(number):
    assert await asyncio.wait_for(run(abs, number), 10) == -number

asyncio.run(call(-1))
while not SHARED.idle:
    pass
child = os.fork()
if not child:
    asyncio.run(call(-2))
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
asyncio.run(call(-3))
"""
"""A program whose child has to make a call although the thread that was idle is not in it."""


class Seen:
    """Counts the threads that calls run on."""

    def __init__(self) -> None:
        self.threads: set[int] = set()
        self.ran: list[int] = []

    def note(self, number: int) -> int:
        """Note the thread of a call."""
        self.threads.add(threading.get_ident())
        self.ran.append(number)
        return number


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Make what blocks calls; it is opened at the end, so that no thread is left blocked."""
    gate = threading.Event()
    yield gate
    gate.set()


async def test_many_calls_at_once_run_on_few_threads() -> None:
    """All of them run, in order, on no more threads than the limit."""
    seen = Seen()

    results = await asyncio.gather(*(run(seen.note, number) for number in range(CALLS)))

    assert results == list(range(CALLS))
    assert len(seen.threads) <= THREADS


async def test_a_call_after_another_uses_its_thread() -> None:
    """No thread is started for what an idle one can do."""
    seen = Seen()
    before = threading.active_count()
    idle = sum(thread.name == "virtmesh-client" for thread in threading.enumerate())

    for number in range(CALLS):
        await run(seen.note, number)

    assert threading.active_count() <= before + THREADS
    assert len(seen.threads) <= max(idle, THREADS)


async def test_calls_that_wait_for_others_do_not_queue(gate: threading.Event) -> None:
    """Twice as many as the limit block at once, and a call that frees them runs."""
    blocked = threading.Semaphore(0)

    def wait() -> bool:
        blocked.release()
        return gate.wait(SOON_SECONDS)

    def wait_for_all() -> None:
        for _ in range(2 * THREADS):
            blocked.acquire()

    waiting = [asyncio.create_task(run_in(Scope(), wait, waits=True)) for _ in range(2 * THREADS)]
    async with asyncio.timeout(SOON_SECONDS):
        await run(wait_for_all)
        await run(gate.set)

        assert await asyncio.gather(*waiting) == [True] * 2 * THREADS


async def test_calls_that_block_unasked_starve_nobody(gate: threading.Event) -> None:
    """When nothing ends for a while, a queued call gets a thread all the same."""
    waiting = [asyncio.create_task(run(gate.wait, SOON_SECONDS)) for _ in range(2 * THREADS)]
    async with asyncio.timeout(SOON_SECONDS):
        await asyncio.create_task(run(gate.set))

        assert await asyncio.gather(*waiting) == [True] * 2 * THREADS


async def test_a_cancelled_call_that_queues_never_runs(gate: threading.Event) -> None:
    """It leaves the queue at once, and those behind it go on."""
    seen = Seen()
    waiting = [asyncio.create_task(run(gate.wait, SOON_SECONDS)) for _ in range(THREADS)]
    await asyncio.sleep(0)
    queued = [asyncio.create_task(run(seen.note, number)) for number in range(2)]
    await asyncio.sleep(0)

    queued[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await queued[0]
    gate.set()
    await asyncio.gather(*waiting)

    assert await queued[1] == 1
    assert seen.ran == [1]


async def test_a_cancelled_call_cancels_what_it_waits_for() -> None:
    """Its scope is cancelled, and the task ends when the call has."""
    scope, begun, ended = Scope(), threading.Event(), threading.Event()

    class Call:
        def cancel(self) -> None:
            ended.set()

    def work() -> None:
        scope.add(Call())
        begun.set()
        ended.wait(SOON_SECONDS)

    task = asyncio.create_task(run_in(scope, work))
    await run(begun.wait, SOON_SECONDS)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert ended.is_set()


async def test_an_error_of_the_call_is_raised_in_the_task() -> None:
    """As it is."""
    with pytest.raises(ZeroDivisionError):
        await run(partial(divmod, 1, 0))


async def test_a_call_that_raises_stop_iteration_ends() -> None:
    """A future can't hold that error, so another one says what happened."""
    with pytest.raises(RuntimeError, match="raised StopIteration") as caught:
        async with asyncio.timeout(SOON_SECONDS):
            await run(next, iter(()))

    assert isinstance(caught.value.__cause__, StopIteration)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_has_threads_of_its_own() -> None:
    """Its calls do not wait for a thread that was idle in its parent."""
    ran = subprocess.run(
        [sys.executable, "-c", FORKING],
        capture_output=True,
        text=True,
        timeout=SOON_SECONDS,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


def refuse_threads(patch: pytest.MonkeyPatch, refused: asyncio.Event | None = None) -> None:
    """Let the process start no more threads."""

    def fail(_thread: threading.Thread) -> None:
        if refused is not None:
            refused.set()
        raise RuntimeError("can't start new thread")

    patch.setattr(threading.Thread, "start", fail)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Threads:
    """Give the calls of one test threads that no other test has used."""
    threads = Threads()
    monkeypatch.setattr("virtmesh_client.aio.threads.SHARED", threads)
    return threads


async def test_a_thread_that_cannot_start_takes_no_place(fresh: Threads) -> None:
    """The calls fail; as many as the limit do, and later ones find all places free."""
    seen = Seen()
    with pytest.MonkeyPatch.context() as patch:
        refuse_threads(patch)
        for number in range(THREADS):
            with pytest.raises(RuntimeError, match="can't start"):
                await run(seen.note, number)

    assert fresh.busy == 0
    assert await run(seen.note, THREADS) == THREADS
    assert seen.ran == [THREADS]


@pytest.mark.usefixtures("fresh")
async def test_a_call_that_queues_goes_on_queuing_if_no_thread_can_start(
    gate: threading.Event,
) -> None:
    """It runs on a thread that is there, once that has ended its call."""
    waiting = [asyncio.create_task(run(gate.wait, SOON_SECONDS)) for _ in range(THREADS)]
    await asyncio.sleep(0)
    refused = asyncio.Event()
    with pytest.MonkeyPatch.context() as patch:
        refuse_threads(patch, refused)
        queued = asyncio.create_task(run(abs, -1))
        await refused.wait()
        assert not queued.done()
        gate.set()

        async with asyncio.timeout(SOON_SECONDS):
            assert await queued == 1
    await asyncio.gather(*waiting)
