"""Calls of clients go to a device by connections of their own, and no more than it takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress
from pathlib import Path

import grpc
import pytest

from virtmesh.kernel.lanes import Lanes, Place
from virtmesh.rpc.budgets import Account, Budgets, set_account
from virtmesh_common.errors import LimitReached
from virtmesh_common.limits import Limits

EACH = 2
SECONDS = 20.0
LIMITS = Limits(calls_per_connection=4 * EACH, forwarded_streams=8, forwarded_streams_per_client=4)


@pytest.fixture
async def lanes(tmp_path: Path) -> AsyncIterator[Lanes]:
    """Return the lanes to a device; a channel connects at its first call, and here is none."""
    lanes = Lanes(f"unix:{tmp_path}/device.sock", "forwarded-streams", LIMITS)
    yield lanes
    await lanes.close()


async def take(lanes: Lanes, client: str, count: int = 1) -> list[Place]:
    """Take places for calls of a client. Errors: LimitReached."""
    set_account(Account(Budgets(), client))
    return [await lanes.take() for _ in range(count)]


def end(places: list[Place]) -> None:
    """End calls as they should."""
    for place in places:
        with place:
            pass


def channels(places: list[Place]) -> list[int]:
    """Return which connection each call has."""
    return [id(place.channel) for place in places]


async def test_no_connection_has_more_calls_than_it_takes(lanes: Lanes) -> None:
    """Two of them carry four calls."""
    used = channels(await take(lanes, "ada", 4))

    assert all(used.count(one) == EACH for one in used)


async def test_clients_share_a_connection_when_there_are_no_others(lanes: Lanes) -> None:
    """The third has one of its own, the fifth does not."""
    calls = [(await take(lanes, client))[0] for client in ("ada", "bob", "cy", "di", "ed")]
    used = channels(calls)

    assert len(set(used[:4])) == 4
    assert used[4] in used[:4]


async def test_who_comes_next_gets_the_connection_that_is_idle_longest(lanes: Lanes) -> None:
    """What others have just given up is not settled yet."""
    ada, bob = await take(lanes, "ada"), await take(lanes, "bob")
    end(bob)
    end(ada)

    assert channels(await take(lanes, "cy")) == channels(bob)
    assert channels(await take(lanes, "di")) == channels(ada)


async def test_one_call_too_many_is_refused(lanes: Lanes) -> None:
    """Of one client, and of all: the eighth part is for those that have none."""
    ada = await take(lanes, "ada", 4)
    with pytest.raises(LimitReached) as of_one:
        await take(lanes, "ada")
    await take(lanes, "name:bob", 3)
    with pytest.raises(LimitReached) as of_all:
        await take(lanes, "name:bob")
    end(ada)

    assert of_one.value.metadata["limit"] == "forwarded-streams-per-client"
    assert of_all.value.metadata["limit"] == "forwarded-streams"
    await take(lanes, "name:bob")


async def test_a_call_that_is_given_up_keeps_its_place_for_a_while(lanes: Lanes) -> None:
    """Whoever opens and cancels without end has no more calls at the device than it takes."""
    with suppress(asyncio.CancelledError), ExitStack() as calls:
        for place in await take(lanes, "ada", 4):
            calls.enter_context(place)
        raise asyncio.CancelledError

    with pytest.raises(LimitReached):
        await take(lanes, "ada")
    while lanes.use.held:  # noqa: ASYNC110 - nobody is told of it
        await asyncio.sleep(0)
    await take(lanes, "ada")


async def test_connections_that_are_not_needed_any_more_are_closed(tmp_path: Path) -> None:
    """All but one, when all clients have left; none that has a call."""
    lanes = Lanes(f"unix:{tmp_path}/device.sock", "forwarded-streams", LIMITS, surplus_s=0.01)
    kept = await take(lanes, "ada")
    others = [(await take(lanes, client))[0] for client in ("bob", "cy", "di")]
    end(others)
    async with asyncio.timeout(SECONDS):
        while not all(is_closed(one) for one in others):  # noqa: ASYNC110 - nobody is told of it
            await asyncio.sleep(0.001)
    assert not is_closed(kept[0])

    end(kept)
    more = await take(lanes, "bob") + await take(lanes, "cy")
    end(more)
    async with asyncio.timeout(SECONDS):
        while sum(map(is_closed, more)) < 1:  # noqa: ASYNC110 - nobody is told of it
            await asyncio.sleep(0.001)
    assert not is_closed((await take(lanes, "ed"))[0])
    await lanes.close()


async def test_connections_in_use_by_turns_are_kept(tmp_path: Path) -> None:
    """As many as have calls at once, whoever has them."""
    lanes = Lanes(f"unix:{tmp_path}/device.sock", "forwarded-streams", LIMITS, surplus_s=0.01)
    begun = asyncio.get_running_loop().time()
    used: set[int] = set()
    while asyncio.get_running_loop().time() < begun + 0.1:
        pair = await take(lanes, "ada") + await take(lanes, "bob")
        used.update(channels(pair))
        assert not any(map(is_closed, pair))
        await asyncio.sleep(0)
        end(pair)
    await lanes.close()

    assert len(used) == 2


def is_closed(place: Place) -> bool:
    """Say whether the connection of a call is closed."""
    return place.channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN
