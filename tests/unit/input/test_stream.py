"""One Inject stream against a client that does as the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc.aio
import pytest
from virtmesh_native import Interrupt

from virtmesh.input.checks import Checker
from virtmesh.input.held_keys import Ledger
from virtmesh.input.injection import Injection
from virtmesh.input.personality import load
from virtmesh.input.stream import OUTBOX_MAX, InjectStream
from virtmesh_common.api.input.v1 import input_pb2 as pb
from virtmesh_common.errors import ShuttingDown
from virtmesh_common.evdev import code_of
from virtmesh_common.input.errors import BadEvent

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
        self.injection = Injection(Ledger(has_slots=False), 1 << 16, Interrupt())
        self.closing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        stream = InjectStream(self.injection, Checker("dev", load("keyboard")), self.client)
        self.running = asyncio.create_task(stream.run(self.closing))

    async def accepted(self, count: int) -> None:
        """Wait until so many packets are accepted, and a little longer."""
        while self.injection.accepted < count:  # noqa: ASYNC110 - it takes turns of the loop only
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)


@pytest.fixture
async def bench() -> AsyncIterator[Rig]:
    """Make a bench."""
    bench = Rig()
    yield bench
    bench.running.cancel()
    await asyncio.wait([bench.running])


async def test_a_client_that_reads_no_answers_is_not_read_on(bench: Rig) -> None:
    """The outbox is full: what the client sends stays where it is."""
    bench.client.reads.clear()
    for sequence in range(2 * OUTBOX_MAX):
        bench.client.send(sequence)
    await bench.accepted(OUTBOX_MAX)
    assert bench.injection.accepted == OUTBOX_MAX
    bench.client.reads.set()
    await bench.accepted(2 * OUTBOX_MAX)
    assert len(bench.client.answers) == 2 * OUTBOX_MAX


async def test_a_stream_without_packets_ends_at_once(bench: Rig) -> None:
    """There is nothing to tell."""
    bench.client.done()
    await bench.running
    assert bench.client.answers == []


async def test_a_client_that_is_done_is_told_the_rest(bench: Rig) -> None:
    """Its keys are released behind its packets; the stream stays open for their ends."""
    bench.client.send(1)
    bench.client.done()
    await bench.accepted(2)
    assert not bench.running.done()
    assert [one.outcome for one in bench.client.answers] == [pb.OUTCOME_ACCEPTED]


async def test_after_an_error_ends_are_not_waited_for(bench: Rig) -> None:
    """What was accepted is told, then the error; the keys are released."""
    bench.client.send(1)
    bench.client.send(2, code=0x2FE)
    with pytest.raises(BadEvent):
        await bench.running
    assert [one.sequence for one in bench.client.answers] == [1]
    assert bench.injection.accepted == 2


async def test_a_stream_that_is_cut_off_in_a_write(bench: Rig) -> None:
    """Its keys are released, though its client takes nothing."""
    bench.client.reads.clear()
    bench.client.send(1)
    await bench.accepted(1)
    bench.running.cancel()
    await asyncio.wait([bench.running])
    assert bench.injection.accepted == 2


async def test_a_stream_of_a_service_that_stops(bench: Rig) -> None:
    """It ends with an error, and its keys are released."""
    bench.client.send(1)
    await bench.accepted(1)
    bench.closing.set_result(None)
    with pytest.raises(ShuttingDown):
        await bench.running
    assert bench.injection.accepted == 2


async def test_a_service_that_stops_cuts_no_write(bench: Rig) -> None:
    """Keys are released at once, the answer under way goes out, and then the error can."""
    bench.client.reads.clear()
    for sequence in range(3):
        bench.client.send(sequence)
    await bench.accepted(3)
    bench.closing.set_result(None)
    await bench.accepted(4)
    assert not bench.running.done()
    bench.client.send(3)
    bench.client.reads.set()
    with pytest.raises(ShuttingDown):
        await bench.running
    assert bench.client.cut == 0
    assert [one.sequence for one in bench.client.answers] == [0]
    assert bench.injection.accepted == 4
