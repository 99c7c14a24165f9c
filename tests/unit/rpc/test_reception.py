"""Places for requests that come: how many there are, and who loses one."""

from __future__ import annotations

import asyncio

import pytest

from virtmesh.rpc.budgets import Use
from virtmesh.rpc.reception import Reception
from virtmesh_common.errors import LimitReached

LONG = 3600


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
