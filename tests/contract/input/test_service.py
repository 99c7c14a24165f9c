"""InputService of a device service: what injectors and watchers see, and what the driver gets."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest

from tests.support.input_poster import Event, EventPoster
from virtmesh.input.kind import KIND
from virtmesh.input.model import InputModel, InputOptions
from virtmesh.input.personality import load
from virtmesh.testing.scripted_driver import ScriptDriver, signalled
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.api.input.v1 import input_pb2 as pb
from virtmesh_common.api.input.v1.input_pb2_grpc import InputServiceStub
from virtmesh_common.errors import BadStream, ShuttingDown, VirtmeshError, from_rpc_error
from virtmesh_common.evdev import code_of
from virtmesh_common.input.errors import BadEvent
from virtmesh_common.input.spec import EVENT, EVENTQ, STATUSQ
from virtmesh_common.virtio.features import Feature

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from tests.contract.conftest import Served

    Serve = Callable[..., AbstractAsyncContextManager[Served]]

PLAIN = int(Feature.VIRTIO_F_VERSION_1)
PACKED = int(Feature.VIRTIO_F_RING_PACKED)
EVENT_IDX = PLAIN | int(Feature.VIRTIO_F_EVENT_IDX)
KEY, A = code_of("KEY_A")
_, B = code_of("KEY_B")
_, C = code_of("KEY_C")
REL, REL_X = code_of("REL_X")
LED, CAPS = code_of("LED_CAPSL")
SYN = (0, 0, 0)
WAITING = 32

ACCEPTED, DELIVERED, REFUSED = pb.OUTCOME_ACCEPTED, pb.OUTCOME_DELIVERED, pb.OUTCOME_REFUSED


@dataclass
class InputRig:
    """An input device service in this process, and the model it serves."""

    served: Served
    model: InputModel

    @property
    def inputs(self) -> Any:
        """A stub of InputService."""
        return InputServiceStub(self.served.channel)

    @asynccontextmanager
    async def driven(self, features: int = PLAIN, size: int = 64) -> AsyncIterator[Driver]:
        """Attach a driver that has posted a buffer for each entry of its event queue."""
        async with self.served.attached() as script:
            await script.reset()
            await script.negotiate(features)
            for index in (EVENTQ, STATUSQ):
                await script.set_up_queue(index, size)
            address = script.ram.pages.allocate(size * EVENT.size)
            poster = EventPoster(script.queues[EVENTQ], script.ram.guest_memory, address, size)
            poster.post()
            await script.go()
            yield Driver(script, poster)


@dataclass
class Driver:
    """A driver that takes events when it is asked for them."""

    script: ScriptDriver
    poster: EventPoster

    async def take(self, count: int) -> list[Event]:
        """Wait for so many events; post their buffers again, one ring for each look."""
        got: list[Event] = []
        while len(got) < count:
            while not self.poster.queue.enable_interrupts():
                await signalled(self.script.doorbells.queues[EVENTQ].call)
            got += self.poster.take()
            await self.post()
        return got

    async def post(self) -> None:
        """Post every idle buffer, and ring if the device wants that."""
        self.poster.post()
        if self.poster.queue.should_notify():
            await self.script.ring(EVENTQ, by="eventfd")

    async def light(self, led: int, value: int) -> None:
        """Turn a light on or off."""
        ram, queue = self.script.ram, self.script.queues[STATUSQ]
        address = ram.pages.allocate(EVENT.size)
        ram.guest_memory.write(address, EVENT.pack(LED, led, value))
        queue.add([(address, EVENT.size)], [])
        await self.script.ring(STATUSQ, by="eventfd")


@asynccontextmanager
async def opened(serve: Serve, kind: str, **options: Any) -> AsyncIterator[InputRig]:
    """Serve an input device for a while."""
    model = InputModel("dev", InputOptions(kind, **options), load(kind))
    async with serve(VirtioMmio(model), KIND) as served:
        yield InputRig(served, model)


@pytest.fixture
async def desk(serve: Serve) -> AsyncIterator[InputRig]:
    """Serve a keyboard."""
    async with opened(serve, "keyboard", serial="K1", waiting=WAITING) as desk:
        yield desk


def request(sequence: int, *events: Event, **fields: Any) -> pb.InjectRequest:
    """Make a packet."""
    return pb.InjectRequest(
        sequence=sequence,
        events=[pb.Event(type=kind, code=code, value=value) for kind, code, value in events],
        **fields,
    )


def press(sequence: int, code: int = A, value: int = 1, **fields: Any) -> pb.InjectRequest:
    """Make a packet that presses a key, or releases it."""
    return request(sequence, (KEY, code, value), **fields)


async def answers(stream: Any, count: int) -> list[tuple[int, int]]:
    """Read so many answers of a stream: sequence and outcome."""
    return [(one.sequence, one.outcome) for one in [await stream.read() for _ in range(count)]]


async def error_of(call: Any) -> VirtmeshError:
    """Read a stream to its end, which must be an error, and return that."""
    try:
        while await call.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as failure:
        return from_rpc_error(failure)
    pytest.fail("the call ended without an error")


async def test_the_device_says_what_it_is(desk: InputRig) -> None:
    """Names, numbers, and the lights."""
    info = await desk.inputs.GetInfo(pb.GetInfoRequest())
    assert (info.name, info.serial, info.personality) == ("virtmesh keyboard", "K1", "keyboard")
    assert list(info.ids) == [6, 0x4D56, 1, 1]
    assert [one.type for one in info.capabilities] == [0x01, 0x04, 0x11, 0x14]
    assert list(info.capabilities[2].codes) == [0, 1, 2]
    assert not info.axes
    assert not info.leds_on


async def test_a_packet_is_accepted_then_delivered(desk: InputRig) -> None:
    """Each packet has a number of its own; who asks for no delivery hears of none."""
    async with desk.driven() as driver:
        stream = desk.inputs.Inject()
        await stream.write(press(5, report_delivered=True))
        await stream.write(press(9, value=0))
        found = [await stream.read() for _ in range(3)]
        assert [(one.sequence, one.outcome, one.packet) for one in found] == [
            (5, ACCEPTED, 1),
            (5, DELIVERED, 1),
            (9, ACCEPTED, 2),
        ]
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
        assert await driver.take(4) == [(KEY, A, 1), SYN, (KEY, A, 0), SYN]


async def test_a_stream_ends_when_its_last_packet_is_delivered(desk: InputRig) -> None:
    """A client that is done sending waits for the driver, without holding the keys."""
    stream = desk.inputs.Inject()
    await stream.write(press(1, report_delivered=True))
    await stream.done_writing()
    assert await answers(stream, 1) == [(1, ACCEPTED)]
    async with desk.driven() as driver:
        assert await answers(stream, 1) == [(1, DELIVERED)]
        assert await stream.read() is grpc.aio.EOF
        assert await driver.take(4) == [(KEY, A, 1), SYN, (KEY, A, 0), SYN]


async def test_the_keys_of_a_stream_that_is_cut_are_released(desk: InputRig) -> None:
    """Newest first, a packet for each."""
    async with desk.driven() as driver:
        stream = desk.inputs.Inject()
        for sequence, code in enumerate((A, B, C)):
            await stream.write(press(sequence, code))
        await driver.take(6)
        stream.cancel()
        got = await driver.take(6)
    assert got == [(KEY, C, 0), SYN, (KEY, B, 0), SYN, (KEY, A, 0), SYN]


async def test_a_key_that_two_streams_hold(desk: InputRig) -> None:
    """It is up when the last of them ends."""
    async with desk.driven() as driver:
        one, two = desk.inputs.Inject(), desk.inputs.Inject()
        for stream in (one, two):
            await stream.write(press(1))
            assert await answers(stream, 1) == [(1, ACCEPTED)]
        await two.write(press(2, B))
        assert await driver.take(5) == [(KEY, A, 1), SYN, SYN, (KEY, B, 1), SYN]
        one.cancel()
        two.cancel()
        assert await driver.take(4) == [(KEY, B, 0), SYN, (KEY, A, 0), SYN]


async def test_release_all(desk: InputRig) -> None:
    """Whoever holds them."""
    async with desk.driven() as driver:
        stream = desk.inputs.Inject()
        await stream.write(press(1, B))
        await driver.take(2)
        answer = await desk.inputs.ReleaseAll(pb.ReleaseAllRequest())
        assert list(answer.keys) == [B]
        assert await driver.take(2) == [(KEY, B, 0), SYN]
        stream.cancel()


async def test_a_bad_event_ends_the_stream(desk: InputRig) -> None:
    """Packets before it stand, and their acceptance is told; its own is not accepted."""
    async with desk.driven() as driver:
        stream = desk.inputs.Inject()
        await stream.write(press(1))
        await stream.write(request(2, (KEY, B, 1), (REL, REL_X, 1)))
        assert await answers(stream, 1) == [(1, ACCEPTED)]
        error = await error_of(stream)
        assert await driver.take(4) == [(KEY, A, 1), SYN, (KEY, A, 0), SYN]
    assert isinstance(error, BadEvent)
    assert error.metadata == {"sequence": "2", "index": "1"}
    assert "it has EV_KEY, EV_MSC" in error.message


async def test_sequences_ascend(desk: InputRig) -> None:
    """A script that resumes after a cut must know what it sends."""
    stream = desk.inputs.Inject()
    await stream.write(press(3))
    await stream.write(press(3))
    assert isinstance(await error_of(stream), BadStream)


async def test_a_million_events_without_a_driver(desk: InputRig) -> None:
    """What the room doesn't hold is refused: no more memory is taken however much is sent."""
    events = [(KEY, A, 2)] * 1000
    stream = desk.inputs.Inject()
    for sequence in range(1000):
        await stream.write(request(sequence, *events, overflow=pb.OVERFLOW_REFUSE))
        answer = await stream.read()
        assert answer.outcome in (ACCEPTED, REFUSED)
        assert answer.waiting <= WAITING
    stats = await desk.inputs.GetStats(pb.GetStatsRequest())
    assert stats.packets_accepted == stats.packets_waiting
    assert stats.packets_accepted + stats.packets_refused == 1000
    assert stats.events_accepted <= WAITING * 16 + 1024
    stream.cancel()


async def test_an_injector_that_waits_for_room(desk: InputRig) -> None:
    """It is told nothing until there is room; then everything arrives."""
    stream = desk.inputs.Inject()
    for sequence in range(WAITING + 1):
        await stream.write(request(sequence, (KEY, A, 2)))
    await answers(stream, WAITING)
    last = asyncio.create_task(stream.read())
    assert (await desk.inputs.GetStats(pb.GetStatsRequest())).packets_accepted == WAITING
    assert not last.done()
    async with desk.driven() as driver:
        await driver.take(2 * WAITING + 2)
        assert (await last).sequence == WAITING
    stream.cancel()


async def test_lights_reach_watchers(desk: InputRig) -> None:
    """A snapshot, then every packet; without its driver a keyboard is dark."""
    async with desk.driven() as driver:
        await driver.light(CAPS, 1)
        watch = desk.inputs.WatchOutput(pb.WatchOutputRequest())
        snapshot = await watch.read()
        while not snapshot.sequence:
            watch = desk.inputs.WatchOutput(pb.WatchOutputRequest())
            snapshot = await watch.read()
        assert (snapshot.sequence, list(snapshot.leds_on)) == (1, [CAPS])
        assert not snapshot.events
        await driver.light(CAPS, 0)
        assert await watch.read() == pb.WatchOutputResponse(
            sequence=2, events=[pb.Event(type=LED, code=CAPS, value=0)]
        )
        await driver.light(0, 1)
        assert list((await watch.read()).leds_on) == [0]
    dark = await watch.read()
    assert (dark.sequence, list(dark.leds_on)) == (4, [])
    stats = await desk.inputs.GetStats(pb.GetStatsRequest())
    assert stats.events_output == 3


async def test_a_service_that_stops_ends_its_streams(desk: InputRig) -> None:
    """At once: nobody waits for an injector or a watcher to go."""
    inject = desk.inputs.Inject()
    await inject.write(press(1))
    await answers(inject, 1)
    watch = desk.inputs.WatchOutput(pb.WatchOutputRequest())
    await watch.read()
    async with asyncio.timeout(4):
        await desk.served.host.stop()
    assert isinstance(await error_of(inject), ShuttingDown)
    assert isinstance(await error_of(watch), ShuttingDown)


# -- Many events of many injectors ------------------------------------------------------------

INJECTORS = 4
EVENTS = 25_000
"""Events of each injector, SYN_REPORT not counted."""


def packets_of(injector: int) -> Iterator[list[Event]]:
    """Make the packets of an injector: each event says whose it is and which one."""
    chance = random.Random(injector)  # noqa: S311 - the same packets each time
    sent = 0
    while sent < EVENTS:
        length = min(chance.choice((1, 1, 2, 3, 3, 5, 9, 40)), EVENTS - sent)
        yield [(REL, REL_X, injector << 24 | sent + place) for place in range(length)]
        sent += length


async def inject(desk: InputRig, injector: int) -> list[int]:
    """Send the packets of an injector; return the numbers of those that were delivered."""
    stream = desk.inputs.Inject()

    async def send() -> None:
        for sequence, events in enumerate(packets_of(injector)):
            await stream.write(request(sequence, *events, report_delivered=True))
        await stream.done_writing()

    sending = asyncio.create_task(send())
    delivered = []
    while (answer := await stream.read()) is not grpc.aio.EOF:
        if answer.outcome == DELIVERED:
            delivered.append(answer.sequence)
    await sending
    return delivered


async def drive_with_pauses(driver: Driver, total: int) -> list[Event]:
    """Take events until all are there, and pause at random: other tasks run meanwhile."""
    chance = random.Random(0)  # noqa: S311 - the same pauses each time
    got: list[Event] = []
    while len(got) < total:
        for _ in range(chance.choice((0, 0, 0, 1, 5, 50))):
            await asyncio.sleep(0)
        while not driver.poster.queue.enable_interrupts():
            await signalled(driver.script.doorbells.queues[EVENTQ].call)
        got += driver.poster.take()
        for _ in range(chance.choice((0, 0, 0, 1, 20))):
            await asyncio.sleep(0)
        await driver.post()
    return got


def split_packets(events: Sequence[Event]) -> list[list[Event]]:
    """Cut a stream of events behind each SYN_REPORT."""
    packets: list[list[Event]] = [[]]
    for event in events:
        if event == SYN:
            packets.append([])
        else:
            packets[-1].append(event)
    return packets[:-1]


@pytest.mark.parametrize(
    ("features", "size"),
    [
        (EVENT_IDX, 64),
        (PLAIN, 64),
        (EVENT_IDX, 4),
        (PLAIN, 4),
        (EVENT_IDX | PACKED, 63),
        (PLAIN | PACKED, 3),
    ],
)
async def test_nothing_is_lost_torn_or_out_of_order(serve: Serve, features: int, size: int) -> None:
    """100,000 events of 4 injectors, through a driver that pauses at random."""
    async with (
        opened(serve, "mouse", queue_size=size, waiting=256) as desk,
        desk.driven(features, size) as driver,
    ):
        wanted = {injector: list(packets_of(injector)) for injector in range(INJECTORS)}
        packets = sum(len(one) for one in wanted.values())
        total = INJECTORS * EVENTS + packets
        driving = asyncio.create_task(drive_with_pauses(driver, total))
        delivered = await asyncio.gather(*(inject(desk, one) for one in range(INJECTORS)))
        got = await driving
        stats = await desk.inputs.GetStats(pb.GetStatsRequest())
    found = defaultdict(list)
    for packet in split_packets(got):
        found[packet[0][2] >> 24].append(packet)
    assert found == wanted
    assert delivered == [list(range(len(wanted[one]))) for one in range(INJECTORS)]
    assert stats.packets_accepted == stats.packets_delivered == packets
    assert stats.events_accepted == stats.events_delivered == len(got) == total
    assert (stats.packets_waiting, stats.packets_lost, stats.packets_refused) == (0, 0, 0)
    long = sum(len(packet) + 1 > size for one in wanted.values() for packet in one)
    assert stats.packets_split == long
