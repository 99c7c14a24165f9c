"""Places for requests that come: how many there are, and who loses one."""

from __future__ import annotations

import asyncio

import pytest

from virtmesh.rpc.budgets import Use
from virtmesh.rpc.reception import Reception
from virtmesh_common.errors import LimitReached

LONG = 3600
STALLED_S = 0.5
"""Long enough that eight times as long does not pass by chance on a loaded host."""


class Request:
    """A request that comes when the test says so."""

    def __init__(self, reception: Reception, client: str = "") -> None:
        self.is_asked_for = False
        self._came = asyncio.Event()
        self.task = asyncio.create_task(reception.receive(client, self._ask))

    async def _ask(self) -> str:
        self.is_asked_for = True
        await self._came.wait()
        return "it"

    async def come(self) -> str:
        """Come whole."""
        self._came.set()
        return str(await self.task)


async def passes(count: int = 5) -> None:
    """Let the tasks go on for some passes of the loop."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_no_more_are_asked_for_than_there_are_places() -> None:
    """The next one is, once one has come."""
    use = Use("unread-requests", 2)
    reception = Reception(use, LONG, LONG)
    requests = [Request(reception) for _ in range(3)]
    await passes()
    assert [one.is_asked_for for one in requests] == [True, True, False]

    assert await requests[0].come() == "it"
    await passes()
    assert requests[2].is_asked_for
    assert [await one.come() for one in requests[1:]] == ["it", "it"]
    assert use.held == 0


async def test_a_client_with_its_part_does_not_keep_others_waiting() -> None:
    """Those that wait are clients in turn, and each has no more than its part."""
    reception = Reception(Use("unread-requests", 16, 2), LONG, LONG)
    greedy = [Request(reception, "greedy") for _ in range(20)]
    other = Request(reception, "other")
    await passes()

    assert sum(one.is_asked_for for one in greedy) == 2
    assert other.is_asked_for
    for one in (*greedy, other):
        assert await one.come() == "it"


async def test_what_does_not_come_leaves_for_another() -> None:
    """The oldest one does, of the client that waits with its part."""
    use = Use("unread-requests", 16, 2)
    reception = Reception(use, 0, LONG)
    slow = [Request(reception, "slow") for _ in range(2)]
    other = Request(reception, "other")
    await passes()
    assert await Request(reception, "slow").come() == "it"

    with pytest.raises(LimitReached) as caught:
        await slow[0].task
    assert caught.value.metadata["limit"] == "unread-requests-per-client"
    assert await slow[1].come() == await other.come() == "it"
    assert use.refused_per_client == 1
    assert use.held == 0


async def test_what_does_not_come_in_time_leaves() -> None:
    """Whether others wait or not."""
    use = Use("unread-requests", 2)
    request = Request(Reception(use, LONG, 0))

    with pytest.raises(LimitReached) as caught:
        await request.task
    assert caught.value.metadata["limit"] == "request-seconds"
    assert use.held == 0


@pytest.mark.parametrize("gone", [0, 1, 2], ids=["coming", "first in line", "last in line"])
async def test_who_goes_leaves_nothing_behind(gone: int) -> None:
    """Its place, or its place in the line, is free."""
    use = Use("unread-requests", 1)
    reception = Reception(use, LONG, LONG)
    requests = [Request(reception) for _ in range(3)]
    await passes()
    requests.pop(gone).task.cancel()

    assert [await one.come() for one in requests] == ["it", "it"]
    assert use.held == 0


async def test_who_goes_just_when_its_turn_comes_gives_it_on() -> None:
    """The place is not lost."""
    use = Use("unread-requests", 1)
    reception = Reception(use, LONG, LONG)
    first, gone, last = (Request(reception) for _ in range(3))
    await passes()
    first.task.add_done_callback(lambda _: gone.task.cancel())
    await first.come()

    assert await last.come() == "it"
    assert use.held == 0


async def test_three_names_keep_nobody_out() -> None:
    """They have all places of their way, and more that wait: another one is next."""
    reception = Reception(Use("unread-requests", 8, 2), LONG, LONG)
    greedy = [Request(reception, f"name:{n}") for n in range(3) for _ in range(20)]
    await passes()
    other = Request(reception, "name:other")
    for _ in range(4):
        coming = next(one for one in greedy if one.is_asked_for and not one.task.done())
        await coming.come()
        await passes()
    assert other.is_asked_for
    await other.come()
    for one in greedy:
        one.task.cancel()
    await asyncio.gather(*(one.task for one in greedy), return_exceptions=True)


async def test_nobody_leaves_for_one_who_gains_nothing_by_it() -> None:
    """One who waits for its way is not helped by the end of a request that came another way."""
    use = Use("unread-requests", 8, 8)
    reception = Reception(use, 0.1, LONG)
    other = Request(reception, "ipv4:1")
    way = [Request(reception, f"name:{n}") for n in range(7)]
    await passes()
    assert not way[6].is_asked_for
    while not way[6].is_asked_for:  # noqa: ASYNC110 - once one of its way has left for it
        await asyncio.sleep(0)
    await passes()
    assert not other.task.done()
    ended = [one for one in way[:6] if one.task.done()]
    assert len(ended) == 1
    for one in (other, *way):
        one.task.cancel()
    await asyncio.gather(*(one.task for one in (other, *way)), return_exceptions=True)


async def test_one_client_waits_for_itself() -> None:
    """Its slow requests are ended for its own next one only after eight times as long."""
    use = Use("unread-requests", 8, 2)
    reception = Reception(use, STALLED_S, LONG)
    own = [Request(reception, "name:own") for _ in range(3)]
    loop = asyncio.get_running_loop()
    passed = loop.create_future()
    loop.call_later(1.5 * STALLED_S, passed.set_result, None)
    await passed
    assert [one.is_asked_for for one in own] == [True, True, False]
    assert not any(one.task.done() for one in own)
    assert [await one.come() for one in own] == ["it", "it", "it"]


async def test_a_crowd_of_newcomers_is_refused() -> None:
    """Where a reception has a bound for them; who has called before is let in."""
    use = Use("free-requests", 1)
    use.turns.visit("name:known")
    use.turns.visit("name:known")
    reception = Reception(use, LONG, LONG, 2)
    requests = [Request(reception, f"name:{n}") for n in range(3)]
    await passes()
    with pytest.raises(LimitReached):
        await Request(reception, "name:more").task
    known = Request(reception, "name:known")
    await requests[0].come()
    await passes()
    assert known.is_asked_for
    assert [await one.come() for one in (known, *requests[1:])] == ["it", "it", "it"]
