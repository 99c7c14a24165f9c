"""What faults do to packets on their way into the waiting room."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from virtmesh.input.fates import DOUBLED, DROPPED, SWAPPED, Fates


@dataclass(eq=False)
class Packet:
    """A packet with a name."""

    name: str
    events: Sequence[bytes] = (b"1", b"2")
    is_dropped: bool = False


async def put(kinds: Sequence[int]) -> list[Packet]:
    """Put packets in, which the kinds of faults take one by one; return the room."""
    left = list(kinds)
    fates = Fates[Packet](lambda: left.pop(0), lambda: None)
    room: deque[Packet] = deque()
    for number in range(len(kinds)):
        fates.put(room, Packet(str(number)))
    return list(room)


async def test_without_faults_packets_stay_as_they_are() -> None:
    """In their order."""
    room = await put([0, 0, 0])
    assert [(one.name, one.is_dropped, len(one.events)) for one in room] == [
        ("0", False, 2),
        ("1", False, 2),
        ("2", False, 2),
    ]


async def test_each_kind_does_what_it_is_called() -> None:
    """A dropped one is marked, a doubled one has its events twice, a swapped one comes later."""
    room = await put([DROPPED, DOUBLED, SWAPPED, 0, 0])
    assert [one.name for one in room] == ["0", "1", "3", "2", "4"]
    assert [one.is_dropped for one in room] == [True, False, False, False, False]
    assert [len(one.events) for one in room] == [2, 4, 2, 2, 2]


async def test_two_that_are_swapped_follow_one_another() -> None:
    """The second one is the next one of the first."""
    assert [one.name for one in await put([SWAPPED, SWAPPED, 0])] == ["1", "0", "2"]
