"""One Inject stream against a client that does as the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from virtmesh.input.checks import Checker
from virtmesh.input.held_keys import HeldKeys
from virtmesh.input.injection import Injection, Offer
from virtmesh.input.personality import load
from virtmesh.input.stream import OUTBOX_MAX, InjectStream
from virtmesh_common.api.input.v1 import input_pb2 as pb
from virtmesh_common.errors import ShuttingDown, VirtmeshError
from virtmesh_common.evdev import code_of
from virtmesh_common.input.errors import BadEvent

if TYPE_CHECKING:
    from virtmesh.input.injection import Report

KEY, A = code_of("KEY_A")


class Client:
    """The context of a call whose client sends requests, and reads answers while `reads` is set."""

    def __init__(self) -> None:
        self.requests: asyncio.Queue[object] = asyncio.Queue()
        self.answers: list[pb.InjectResponse] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self.cut = 0
        """Writes that were cancelled: after one, gRPC can send nothing more."""

    def send(self, sequence: int, code: int = A) -> None:
        """Send a packet that presses a key, and asks for its delivery."""
        event = pb.Event(type=KEY, code=code, value=1)
        self.requests.put_nowait(
            pb.InjectRequest(sequence=sequence, events=[event], report_delivered=True)
        )

    def done(self) -> None:
        """Send no more."""
        self.requests.put_nowait(grpc.aio.EOF)

    async def read(self) -> object:
        """Return the next request."""
        return await self.requests.get()

    async def write(self, answer: pb.InjectResponse) -> None:
        """Take an answer."""
        try:
            await self.reads.wait()
        except asyncio.CancelledError:
            self.cut += 1
            raise
        self.answers.append(answer)


class Rig:
    """A stream, without a driver."""

    def __init__(self) -> None:
        self.client = Client()
        self.injection = Injection(HeldKeys(has_slots=False), 1 << 16, lambda: None)
        self.closing: asyncio.Future[VirtmeshError] = asyncio.get_running_loop().create_future()
        stream = InjectStream(self.injection, Checker("dev", load("keyboard")), self.client)
        self.running = asyncio.create_task(stream.run(self.closing))

    async def accepted(self, count: int) -> None:
        """Wait until so many packets are accepted, and a little longer."""
        while self.injection.accepted < count:  # noqa: ASYNC110 - it takes turns of the loop only
            await asyncio.sleep(0)
        await self.turns()

    async def turns(self) -> None:
        """Let the loop take some turns."""
        for _ in range(20):
            await asyncio.sleep(0)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """Make a rig."""
    rig = Rig()
    yield rig
    rig.running.cancel()
    await asyncio.wait([rig.running])


async def test_a_client_that_reads_no_answers_is_not_read_on(rig: Rig) -> None:
    """The outbox is full: what the client sends stays where it is."""
    rig.client.reads.clear()
    for sequence in range(2 * OUTBOX_MAX):
        rig.client.send(sequence)
    await rig.accepted(OUTBOX_MAX)
    assert rig.injection.accepted == OUTBOX_MAX
    rig.client.reads.set()
    await rig.accepted(2 * OUTBOX_MAX)
    assert len(rig.client.answers) == 2 * OUTBOX_MAX


async def test_a_stream_without_packets_ends_at_once(rig: Rig) -> None:
    """There is nothing to tell."""
    rig.client.done()
    await rig.running
    assert rig.client.answers == []


async def test_a_client_that_is_done_is_told_the_rest(rig: Rig) -> None:
    """Its keys are released behind its packets; the stream stays open for their ends."""
    rig.client.send(1)
    rig.client.done()
    await rig.accepted(2)
    assert not rig.running.done()
    assert [one.outcome for one in rig.client.answers] == [pb.OUTCOME_ACCEPTED]


async def test_after_an_error_ends_are_not_waited_for(rig: Rig) -> None:
    """What was accepted is told, then the error; the keys are released."""
    rig.client.send(1)
    rig.client.send(2, code=0x2FE)
    with pytest.raises(BadEvent):
        await rig.running
    assert [one.sequence for one in rig.client.answers] == [1]
    assert rig.injection.accepted == 2


async def test_a_client_that_wants_it_brief(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is delivered soon was not told to be accepted; one answer is for several packets."""
    monkeypatch.setattr("virtmesh.input.stream.BRIEF_S", 3600)
    reports: list[Report] = []

    async def offer(offer: Offer, **_: bool) -> None:
        reports.append(offer.report)
        offer.report(len(reports), pb.OUTCOME_ACCEPTED)

    rig.injection.offer = offer  # type: ignore[method-assign]
    rig.client.requests.put_nowait(pb.InjectRequest(resume=pb.Resume(brief=True)))
    for sequence in range(1, 6):
        rig.client.send(sequence)
    rig.client.done()
    await rig.turns()
    ends = (pb.OUTCOME_DELIVERED,) * 3 + (pb.OUTCOME_LOST, pb.OUTCOME_DELIVERED)
    for number, (report, outcome) in enumerate(zip(reports, ends, strict=True), start=1):
        report(number, outcome)
    await rig.running
    assert [(one.sequence, one.outcome, list(one.more)) for one in rig.client.answers] == [
        (0, pb.OUTCOME_ACCEPTED, []),
        (1, pb.OUTCOME_DELIVERED, [2, 3]),
        (4, pb.OUTCOME_LOST, []),
        (5, pb.OUTCOME_DELIVERED, []),
    ]


async def test_a_brief_client_is_told_what_waits(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver takes nothing: a moment later it is told that its packets are accepted."""
    monkeypatch.setattr("virtmesh.input.stream.BRIEF_S", 0)

    async def offer(offer: Offer, **_: bool) -> None:
        offer.report(1, pb.OUTCOME_ACCEPTED)

    rig.injection.offer = offer  # type: ignore[method-assign]
    rig.client.requests.put_nowait(pb.InjectRequest(resume=pb.Resume(brief=True)))
    for sequence in (1, 2):
        rig.client.send(sequence)

    def told() -> list[int]:
        return [n for one in rig.client.answers[1:] for n in (one.sequence, *one.more)]

    while told() != [1, 2]:
        await rig.turns()
    assert {one.outcome for one in rig.client.answers} == {pb.OUTCOME_ACCEPTED}
    rig.running.cancel()
    await asyncio.gather(rig.running, return_exceptions=True)


async def test_what_is_told_late_is_told_before_the_end(rig: Rig) -> None:
    """A relay tells a moment later that packets are accepted: the stream waits for that."""
    reports: list[Report] = []

    async def offer(offer: Offer, **_: bool) -> None:
        reports.append(offer.report)

    rig.injection.offer = offer  # type: ignore[method-assign]
    rig.client.send(1)
    rig.client.send(2, code=0x2FE)
    await rig.turns()
    assert not rig.running.done()
    reports[0](1, pb.OUTCOME_ACCEPTED)
    with pytest.raises(BadEvent):
        await rig.running
    assert [one.outcome for one in rig.client.answers] == [pb.OUTCOME_ACCEPTED]


async def test_a_stream_that_is_cut_off_in_a_write(rig: Rig) -> None:
    """Its keys are released, though its client takes nothing."""
    rig.client.reads.clear()
    rig.client.send(1)
    await rig.accepted(1)
    rig.running.cancel()
    await asyncio.wait([rig.running])
    assert rig.injection.accepted == 2


async def test_a_stream_of_a_service_that_stops(rig: Rig) -> None:
    """It ends with an error, and its keys are released."""
    rig.client.send(1)
    await rig.accepted(1)
    rig.closing.set_result(ShuttingDown("the device service is stopping"))
    with pytest.raises(ShuttingDown):
        await rig.running
    assert rig.injection.accepted == 2


async def test_a_service_that_stops_cuts_no_write(rig: Rig) -> None:
    """Keys are released at once, the answer under way goes out, and then the error can."""
    rig.client.reads.clear()
    for sequence in range(3):
        rig.client.send(sequence)
    await rig.accepted(3)
    rig.closing.set_result(ShuttingDown("the device service is stopping"))
    await rig.accepted(4)
    assert not rig.running.done()
    rig.client.send(3)
    rig.client.reads.set()
    with pytest.raises(ShuttingDown):
        await rig.running
    assert rig.client.cut == 0
    assert [one.sequence for one in rig.client.answers] == [0]
    assert rig.injection.accepted == 4
