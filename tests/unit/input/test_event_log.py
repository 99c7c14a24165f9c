"""The log of events: a ring, and readers at their own pace."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtmesh.input.event_log import EventLog
from virtmesh_common.errors import DeviceLost, ShuttingDown, WatcherTooSlow


async def test_events_keep_their_order_and_time() -> None:
    """Times are microseconds since the epoch, those of one arrival are the same."""
    log = EventLog()
    reader = log.reader()
    before = time.time_ns() // 1000
    log.extend([5, 6])
    log.extend([7])

    events, times_us = await reader.read()

    assert list(events) == [5, 6, 7]
    assert before <= times_us[0] == times_us[1] <= times_us[2] <= time.time_ns() // 1000
    assert reader.sequence == 3


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("come"), st.integers(0, 9)),
            st.tuples(st.just("read"), st.integers(1, 5)),
        ),
        max_size=60,
    )
)
def test_a_reader_gets_everything_or_is_told(steps: list[tuple[str, int]]) -> None:
    """Against a list that keeps everything, with a ring of 8."""

    async def run() -> None:
        log, model, position = EventLog(kept=8), list[int](), 0
        reader = log.reader()
        for step, count in steps:
            if step == "come":
                fresh = list(range(len(model), len(model) + count))
                model += fresh
                log.extend(fresh)
            elif len(model) - position > 8:
                with pytest.raises(WatcherTooSlow) as caught:
                    await reader.read(count)
                assert caught.value.metadata == {"sequence": str(position)}
                return
            elif len(model) > position:
                events, times_us = await reader.read(count)
                assert list(events) == model[position : position + count]
                assert len(times_us) == len(events)
                position += len(events)
            assert reader.sequence == position
            assert reader.is_empty() == (position == len(model))

    asyncio.run(run())


async def test_a_slow_reader_is_cut_off_alone() -> None:
    """The others notice nothing; it stays cut off."""
    log = EventLog(kept=4)
    slow, quick = log.reader(), log.reader()
    for number in range(6):
        log.extend([number])
        assert list((await quick.read())[0]) == [number]

    for _ in range(2):
        with pytest.raises(WatcherTooSlow, match="events after number 0 are lost"):
            await slow.read()
    assert log.cut_off == 2


async def test_a_reader_that_is_just_in_time_gets_everything() -> None:
    """As many events as are kept are not too many."""
    log = EventLog(kept=4)
    reader = log.reader()
    log.extend([0, 1])
    await reader.read()
    log.extend([2, 3, 4, 5])

    assert list((await reader.read())[0]) == [2, 3, 4, 5]


async def test_tasks_that_share_a_reader_share_its_events() -> None:
    """Each event goes to one of them, and nobody gets nothing."""
    log = EventLog()
    reader = log.reader()
    tasks = [asyncio.create_task(reader.read(limit=1)) for _ in range(3)]
    await asyncio.sleep(0)
    log.extend([1, 2])
    for _ in range(3):
        await asyncio.sleep(0)
    assert [task.done() for task in tasks].count(True) == 2
    log.extend([3])

    assert sorted([(await task)[0][0] for task in tasks]) == [1, 2, 3]


async def test_a_reader_that_gives_up_leaves_nothing_behind() -> None:
    """Watchers that come and go while no event comes cost no memory."""
    log = EventLog()
    for _ in range(10):
        waiting = asyncio.create_task(log.reader().read())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    assert not log._waiting


async def test_a_failed_log_is_read_to_its_end() -> None:
    """First what came, then the error."""
    log = EventLog()
    reader = log.reader()
    log.extend([1])
    log.fail(lambda: DeviceLost("gone"))

    assert list((await reader.read())[0]) == [1]
    with pytest.raises(DeviceLost, match="gone"):
        await reader.read()


async def test_a_reader_can_be_stopped_alone() -> None:
    """It fails at once, though there is something to read; the others go on."""
    log = EventLog()
    stopped, other = log.reader(), log.reader()
    waiting = asyncio.create_task(stopped.read())
    await asyncio.sleep(0)
    stopped.stop(lambda: ShuttingDown("enough"))
    log.extend([1])

    for work in (waiting, stopped.read()):
        with pytest.raises(ShuttingDown, match="enough"):
            await work
    assert list((await other.read())[0]) == [1]
