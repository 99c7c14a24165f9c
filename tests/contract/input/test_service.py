"""InputService of a device service: what injectors and watchers see, and what the driver gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest

from tests.support.input_desk import CAPS, LED, REL, REL_X, SYN, Desk, opened, request
from virtmesh_common.api.input.v1 import input_pb2 as pb
from virtmesh_common.errors import BadStream, ShuttingDown, VirtmeshError, from_rpc_error
from virtmesh_common.evdev import code_of
from virtmesh_common.input.errors import BadEvent

if TYPE_CHECKING:
    from tests.support.input_desk import Serve

KEY, A = code_of("KEY_A")
_, B = code_of("KEY_B")
_, C = code_of("KEY_C")
WAITING = 32

ACCEPTED, DELIVERED, REFUSED = pb.OUTCOME_ACCEPTED, pb.OUTCOME_DELIVERED, pb.OUTCOME_REFUSED


@pytest.fixture
async def desk(serve: Serve) -> AsyncIterator[Desk]:
    """Serve a keyboard."""
    async with opened(serve, "keyboard", serial="K1", waiting=WAITING) as desk:
        yield desk


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


async def test_the_device_says_what_it_is(desk: Desk) -> None:
    """Names, numbers, and the lights."""
    info = await desk.inputs.GetInfo(pb.GetInfoRequest())
    assert (info.name, info.serial, info.personality) == ("virtmesh keyboard", "K1", "keyboard")
    assert list(info.ids) == [6, 0x4D56, 1, 1]
    assert [one.type for one in info.capabilities] == [0x01, 0x04, 0x11, 0x14]
    assert list(info.capabilities[2].codes) == [0, 1, 2]
    assert not info.axes
    assert not info.leds_on


async def test_a_packet_is_accepted_then_delivered(desk: Desk) -> None:
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


async def test_a_stream_ends_when_its_last_packet_is_delivered(desk: Desk) -> None:
    """A client that is done sending waits for the driver, without holding the keys."""
    stream = desk.inputs.Inject()
    await stream.write(press(1, report_delivered=True))
    await stream.done_writing()
    assert await answers(stream, 1) == [(1, ACCEPTED)]
    async with desk.driven() as driver:
        assert await answers(stream, 1) == [(1, DELIVERED)]
        assert await stream.read() is grpc.aio.EOF
        assert await driver.take(4) == [(KEY, A, 1), SYN, (KEY, A, 0), SYN]


async def test_the_keys_of_a_stream_that_is_cut_are_released(desk: Desk) -> None:
    """Newest first, in one packet."""
    async with desk.driven() as driver:
        stream = desk.inputs.Inject()
        for sequence, code in enumerate((A, B, C)):
            await stream.write(press(sequence, code))
        await driver.take(6)
        stream.cancel()
        got = await driver.take(4)
    assert got == [(KEY, C, 0), (KEY, B, 0), (KEY, A, 0), SYN]


async def test_a_key_that_two_streams_hold(desk: Desk) -> None:
    """It is up when the last of them ends."""
    async with desk.driven() as driver:
        one, two = desk.inputs.Inject(), desk.inputs.Inject()
        for stream in (one, two):
            await stream.write(press(1))
            assert await answers(stream, 1) == [(1, ACCEPTED)]
        await two.write(press(2, B))
        assert await driver.take(5) == [(KEY, A, 1), SYN, SYN, (KEY, B, 1), SYN]
        two.cancel()
        assert await driver.take(2) == [(KEY, B, 0), SYN]
        one.cancel()
        assert await driver.take(2) == [(KEY, A, 0), SYN]


async def test_release_all(desk: Desk) -> None:
    """Whoever holds them."""
    async with desk.driven() as driver:
        stream = desk.inputs.Inject()
        await stream.write(press(1, B))
        await driver.take(2)
        answer = await desk.inputs.ReleaseAll(pb.ReleaseAllRequest())
        assert list(answer.keys) == [B]
        assert await driver.take(2) == [(KEY, B, 0), SYN]
        stream.cancel()


async def test_a_bad_event_ends_the_stream(desk: Desk) -> None:
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


async def test_sequences_ascend(desk: Desk) -> None:
    """A script that resumes after a cut must know what it sends."""
    stream = desk.inputs.Inject()
    await stream.write(press(3))
    await stream.write(press(3))
    assert isinstance(await error_of(stream), BadStream)


async def test_a_million_events_without_a_driver(desk: Desk) -> None:
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


async def test_an_injector_that_waits_for_room(desk: Desk) -> None:
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


async def test_lights_reach_watchers(desk: Desk) -> None:
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


async def test_a_service_that_stops_ends_its_streams(desk: Desk) -> None:
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
