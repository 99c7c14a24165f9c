"""Packets of a process that has gone: what came through, what is sent again, what is unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from virtmesh.input.event_log import END, EventLog
from virtmesh.input.held_keys import HeldKeys, InjectorState
from virtmesh.input.injection import Offer
from virtmesh.input.relayed import RelayedInjection
from virtmesh.input.tape import Tape
from virtmesh_common.api.input.v1 import input_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence

KEY = 1
UNKNOWN = bytes((15 << 3, 1))
"""A field that no message has."""
SYN = (0, 0, 0)


def words(*events: tuple[int, int, int]) -> list[int]:
    """Return events as the driver has them."""
    return [kind << 48 | code << 32 | value for kind, code, value in events]


class Rig:
    """Three packets that a process has: press 30, press 31 and 32, release 30."""

    def __init__(self) -> None:
        self.injection = RelayedInjection(HeldKeys(has_slots=False), 16)
        self.log = EventLog(64)
        self.tape = Tape(self.log)
        self.sent: list[bytes] = []
        self.outcomes: dict[int, int] = {}
        """The last that was reported of each packet."""
        self.reports: list[tuple[int, int]] = []
        self.state = InjectorState()

    async def begin(self) -> None:
        """Send the packets."""
        self.injection.link(self.sent.append)
        await self.offer((KEY, 30, 1))
        await self.offer((KEY, 31, 1), (KEY, 32, 1))
        await self.offer((KEY, 30, 0))

    async def offer(
        self, *events: tuple[int, int, int], request: pb.InjectRequest | None = None
    ) -> None:
        """Offer one packet."""

        def report(number: int, outcome: pb.Outcome.ValueType) -> None:
            self.outcomes[number] = outcome
            self.reports.append((number, outcome))

        offer = Offer(self.state, [*events, SYN], report, report_end=True, request=request)
        await self.injection.offer(offer, refuse=False)

    def die(self, came: Sequence[int]) -> bool:
        """Let the process go, of which so much came through; begin with the next one."""
        self.injection.unlink()
        self.log.extend(came)
        received = self.tape.rest()
        known = self.injection.conclude(received, self.tape.down, provable=True)
        self.sent.clear()
        self.injection.link(self.sent.append)
        return known

    def again(self) -> list[list[tuple[int, int, int]]]:
        """Return what the next process was given."""
        requests = map(pb.InjectRequest.FromString, self.sent)
        return [[(one.type, one.code, one.value) for one in request.events] for request in requests]


@pytest.fixture
async def rig() -> Rig:
    """Give three packets to a process."""
    made = Rig()
    await made.begin()
    return made


async def test_what_came_is_delivered_and_the_rest_goes_on(rig: Rig) -> None:
    """Though no report came: the driver has the first packet."""
    assert rig.die([*words((KEY, 30, 1)), END])
    assert rig.outcomes == {
        1: pb.OUTCOME_DELIVERED,
        2: pb.OUTCOME_ACCEPTED,
        3: pb.OUTCOME_ACCEPTED,
    }
    assert rig.again() == [[(KEY, 31, 1), (KEY, 32, 1), SYN], [(KEY, 30, 0), SYN]]
    assert rig.injection.waiting == 2


async def test_a_packet_that_came_in_part_is_completed(rig: Rig) -> None:
    """The next process is given what is missing of it."""
    assert rig.die([*words((KEY, 30, 1)), END, *words((KEY, 31, 1))])
    assert rig.again() == [[(KEY, 32, 1), SYN], [(KEY, 30, 0), SYN]]


async def test_a_second_death_in_the_same_packet(rig: Rig) -> None:
    """What came of it from two processes is counted together."""
    rig.die([*words((KEY, 30, 1)), END, *words((KEY, 31, 1))])
    assert rig.die(words((KEY, 32, 1)))
    assert rig.again() == [[SYN], [(KEY, 30, 0), SYN]]


async def test_what_nobody_knows_is_reported_and_never_sent_again(rig: Rig) -> None:
    """Something else came: all three are lost, and keys are as they would have left them."""
    assert not rig.die([*words((KEY, 99, 1)), END, *words((KEY, 30, 1)), END])
    assert set(rig.outcomes.values()) == {pb.OUTCOME_LOST}
    assert rig.injection.unknown == 3
    assert rig.again() == [[(KEY, 30, 0), (KEY, 31, 1), (KEY, 32, 1), SYN]]


async def test_accounts_are_even_over_all_lives(rig: Rig) -> None:
    """What was accepted is delivered, waits, or is lost."""
    rig.die([*words((KEY, 30, 1)), END])
    for number in (2, 3):
        answer = pb.InjectResponse(sequence=number, outcome=pb.OUTCOME_DELIVERED)
        rig.injection.answer(answer)
    assert rig.injection.accepted == rig.injection.delivered == 3
    assert rig.injection.waiting == rig.injection.events_waiting == 0


async def test_injectors_are_told_when_the_driver_has_a_packet(rig: Rig) -> None:
    """One answer may be for several packets; of each, both outcomes are told in order."""
    assert rig.reports == []
    rig.injection.answer(pb.InjectResponse(sequence=1, outcome=pb.OUTCOME_DELIVERED, more=[2]))
    assert rig.reports == [
        (1, pb.OUTCOME_ACCEPTED),
        (1, pb.OUTCOME_DELIVERED),
        (2, pb.OUTCOME_ACCEPTED),
        (2, pb.OUTCOME_DELIVERED),
    ]


async def test_injectors_are_told_what_the_process_has(rig: Rig) -> None:
    """It lives on when the kernel service does not: what is only here is not accepted."""
    rig.injection.answer(pb.InjectResponse(sequence=1, outcome=pb.OUTCOME_ACCEPTED, more=[2]))
    assert rig.reports == [(number, pb.OUTCOME_ACCEPTED) for number in (1, 2)]
    rig.injection.unlink()
    assert rig.reports[2:] == [(3, pb.OUTCOME_ACCEPTED)]


async def test_injectors_are_told_at_once_without_a_process(rig: Rig) -> None:
    """What is behind what the process has is told behind it."""
    rig.injection.unlink()
    await rig.offer((KEY, 32, 0))
    assert rig.reports == [(number, pb.OUTCOME_ACCEPTED) for number in (1, 2, 3, 4)]


async def test_a_request_is_passed_on_without_what_nobody_knows() -> None:
    """Fields of a later version would take room here that is not counted."""
    request = pb.InjectRequest(sequence=9, overflow=pb.OVERFLOW_REFUSE)
    event = pb.Event(type=KEY, code=30, value=1).SerializeToString() + UNKNOWN
    request.MergeFromString(bytes((2 << 3 | 2, len(event))) + event + UNKNOWN)
    rig = Rig()
    rig.injection.link(rig.sent.append)
    await rig.offer((KEY, 30, 1), request=request)
    assert [pb.InjectRequest.FromString(one) for one in rig.sent] == [
        pb.InjectRequest(
            sequence=1,
            events=[pb.Event(type=KEY, code=30, value=1)],
            report_delivered=True,
            any_value=True,
            overflow=pb.OVERFLOW_WAIT,
        )
    ]
    rig.die(words((KEY, 30, 1)))
    assert rig.again() == [[SYN]]


async def test_a_request_is_not_passed_on_if_the_driver_is_to_see_less(rig: Rig) -> None:
    """Another injector holds the key: it is not pressed again, nor released."""
    other = Rig()
    other.injection, other.sent = rig.injection, rig.sent
    rig.sent.clear()
    events = [pb.Event(type=KEY, code=31, value=1), pb.Event(type=KEY, code=40, value=1)]
    request = pb.InjectRequest(sequence=7, events=events)
    await other.offer((KEY, 31, 1), (KEY, 40, 1), request=request)
    assert rig.again() == [[(KEY, 40, 1), SYN]]


def test_a_tape_that_the_log_has_outrun_says_so() -> None:
    """What is not kept can prove nothing."""
    log = EventLog(8)
    tape = Tape(log)
    log.extend([END] * 9)
    assert not tape.rest().is_complete
