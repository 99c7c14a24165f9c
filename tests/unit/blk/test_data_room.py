"""Who loses its room for data, and for whom."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from virtmesh.blk.data_room import DATA, DataRoom, Share
from virtmesh.rpc.budgets import Budgets
from virtmesh_common.limits import PER_CLIENT, PER_DISK, Limits

if TYPE_CHECKING:
    from virtmesh_common.errors import LimitReached

MIB = 1 << 20


class Room:
    """A room of 8 MiB, 4 of each disk and 2 of each client; who is idle for long may be ended."""

    def __init__(self, stalled_ms: int = 1) -> None:
        values = {
            DATA: 8 * MIB,
            DATA + PER_DISK: 4 * MIB,
            DATA + PER_CLIENT: 2 * MIB,
            "stalled-ms": stalled_ms,
        }
        self.room = DataRoom(Budgets(Limits.of(values)))
        self.ended: dict[Share, LimitReached] = {}

    def idle(self, client: str, disk: str = "vda", size: int = MIB) -> Share:
        """Begin a write that has room and sends nothing."""
        share = self.room.open(disk, client)
        assert self.room.grow(share, size)
        share.idle_since = asyncio.get_running_loop().time()

        def end(error: LimitReached) -> None:
            self.ended[share] = error
            self.room.close(share)

        share.end = end
        return share

    def busy(self, client: str, disk: str = "vda") -> Share:
        """Begin a write that has room for 2 MiB and goes on sending."""
        share = self.idle(client, disk, 2 * MIB)
        share.idle_since = None
        return share

    async def has_room(self, client: str, disk: str = "vda") -> Share:
        """Begin a write that waits for room until it has some."""
        share = self.room.open(disk, client)
        await self.room.wait(share, MIB)
        return share

    async def goes_on_after(self, client: str, share: Share) -> None:
        """Check that a write waits, ends nobody, and goes on when another one has ended."""
        waiting = asyncio.create_task(self.has_room(client))
        await longer_than_idle()
        assert not self.ended
        assert not waiting.done()
        self.room.close(share)
        await waiting


async def longer_than_idle() -> None:
    """Wait until a write that began to be idle now may be ended."""
    loop = asyncio.get_running_loop()
    passed = loop.create_future()
    loop.call_later(0.005, passed.set_result, None)
    await passed


async def test_who_waits_for_itself_ends_nobody() -> None:
    """A client at its own limit keeps nobody else out: its next write waits for one of its own."""
    room = Room(stalled_ms=1000)
    other = room.idle("name:other")
    own = [room.idle("name:own"), room.idle("name:own")]
    await room.goes_on_after("name:own", own[0])
    assert other not in room.ended


async def test_who_waits_for_itself_for_long_ends_one_of_its_own() -> None:
    """Who gives no name shares its key, and its part, with all who give none."""
    room = Room()
    other = room.idle("name:other")
    own = [room.idle("name:own"), room.idle("name:own")]
    await room.has_room("name:own")
    assert other not in room.ended
    assert len(room.ended.keys() & set(own)) == 1
    (error,) = room.ended.values()
    assert error.metadata["limit"] == DATA + PER_CLIENT


async def test_who_waits_for_one_disk_gets_room_of_another() -> None:
    """Also after it has given the first one up."""
    room = Room()
    for n in range(2):
        room.busy(f"name:{n}", "stuck")
    first = asyncio.create_task(room.has_room("name:own", "stuck"))
    await longer_than_idle()
    assert not first.done()
    await room.has_room("name:own", "vdb")
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await room.has_room("name:own", "vdb")


async def test_one_that_has_gone_does_not_take_the_place_of_the_next() -> None:
    """In the same pass of the loop as the room is given back."""
    room = Room()
    busy = [room.busy(f"name:{n}") for n in range(2)]
    leaves, stays = [asyncio.create_task(room.has_room("name:own")) for _ in range(2)]
    await longer_than_idle()
    leaves.cancel()
    room.room.close(busy[0])
    await stays
    assert leaves.cancelled() or leaves.cancelling()


async def test_a_full_disk_ends_writes_of_that_disk() -> None:
    """Of its clients those with more than one write come first, and as few end as will do."""
    room = Room()
    elsewhere = room.idle("name:c", "vdb", 2 * MIB)
    only = room.idle("name:a", size=2 * MIB)
    several = [room.idle("name:b"), room.idle("name:b")]
    await room.has_room("name:d")
    assert elsewhere not in room.ended
    assert only not in room.ended
    assert len(room.ended.keys() & set(several)) == 1
    (error,) = room.ended.values()
    assert error.metadata["limit"] == DATA + PER_DISK


async def test_the_only_writes_of_clients_end_where_nothing_else_gives_room() -> None:
    """However many names fill what may come the same way: who has something to send gets room."""
    room = Room()
    only = [
        *(room.idle(f"name:{n}", "vda", 2 * MIB) for n in range(2)),
        room.idle("name:2", "vdb", 2 * MIB),
    ]
    await room.has_room("name:new", "vdc")
    assert len(room.ended.keys() & set(only)) == 1
    (error,) = room.ended.values()
    assert error.metadata["limit"] == DATA


async def test_who_sends_is_not_ended() -> None:
    """Not even by somebody who waits; it goes on when a write has ended."""
    room = Room()
    busy = [room.busy("name:a"), room.busy("name:b")]
    await room.goes_on_after("name:c", busy[0])


@pytest.mark.parametrize("waiting", [1, 3])
async def test_many_who_wait_end_one_each(waiting: int) -> None:
    """Not all that are idle."""
    room = Room()
    for n in range(2):
        room.idle(f"name:{n}")
        room.idle(f"name:{n}")
    await asyncio.gather(*(room.has_room(f"name:new{n}") for n in range(waiting)))
    assert len(room.ended) == waiting
