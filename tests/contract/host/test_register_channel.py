"""The register channel, from drivers that send anything: the same registers as by gRPC."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc.aio
import pytest
from structlog.testing import capture_logs

from tests.contract.conftest import Served
from tests.support.lingering import SOON, lingering_sockets
from tests.support.raw_channel import RawAnswer, RawChannel, handed_over, packet, raw_channel
from virtmesh.host.batch import GUARD, WRITE
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.api.device.v1 import device_pb2
from virtmesh_common.api.register.v1 import register_pb2
from virtmesh_common.api.register.v1.register_pb2_grpc import RegisterServiceStub
from virtmesh_common.api.trace.v1 import trace_pb2
from virtmesh_common.uart.spec import Registers
from virtmesh_common.virtio import mmio

READ_MAGIC = (mmio.MAGIC_VALUE.offset, 4, 0)
READ_STATUS = (mmio.STATUS.offset, 4, 0)
ACKNOWLEDGE_ALL = (mmio.INTERRUPT_ACK.offset, 4 | WRITE, 3)
LIMIT = 4000
UART = Registers()


def to_status(value: int) -> tuple[int, int, int]:
    """Make the write of Status."""
    return mmio.STATUS.offset, 4 | WRITE, value


@pytest.fixture
async def raw(served: Served) -> AsyncIterator[RawChannel]:
    """Attach a driver to the disk."""
    async with raw_channel(served.handover, served.channel) as raw:
        yield raw


async def detached(served: Served) -> None:
    """Wait until nobody holds the device."""
    while (await served.control.GetStatus(device_pb2.GetStatusRequest())).attached:
        pass


# -- What it carries -------------------------------------------------------------------------------


async def test_it_is_offered_and_reads_registers(raw: RawChannel) -> None:
    """A read is answered with its tag, its value and a line that is down."""
    assert raw.version == 1
    assert await raw.ask(READ_MAGIC, tag=7) == RawAnswer(7, False, 0, 0, (mmio.MMIO_MAGIC,))  # noqa: FBT003


async def test_a_request_of_nothing_asks_for_the_line(raw: RawChannel, device: VirtioMmio) -> None:
    """Its answer has no values."""
    device.interrupt.raise_config()
    answer = await raw.ask(tag=9)
    assert answer == RawAnswer(9, True, mmio.INTERRUPT_CONFIG_CHANGE, 1, ())  # noqa: FBT003


async def test_an_answer_has_the_line_as_its_accesses_left_it(
    raw: RawChannel, device: VirtioMmio
) -> None:
    """An acknowledgement is answered with a line that has fallen."""
    device.interrupt.raise_config()
    assert (await raw.ask(READ_STATUS)).asserted
    answer = await raw.ask(ACKNOWLEDGE_ALL)
    assert (answer.asserted, answer.causes, answer.sequence) == (False, 0, 1)


async def test_grpc_tells_the_line_too(served: Served, raw: RawChannel, device: VirtioMmio) -> None:
    """AccessResponse has the line as of the end of its batch."""
    device.interrupt.raise_config()
    stream: Any = RegisterServiceStub(served.channel).Access(metadata=raw.metadata)
    told = []
    for offset, op, value in (READ_STATUS, ACKNOWLEDGE_ALL):
        await stream.write(register_pb2.AccessRequest(offsets=[offset], ops=[op], values=[value]))
        answer = await stream.read()
        told.append((answer.line_asserted, answer.line_sequence))
    assert told == [(True, 1), (False, 1)]
    stream.cancel()


async def test_requests_may_be_pipelined(raw: RawChannel) -> None:
    """Answers come in order, each batch as one piece."""
    for tag in range(100):
        raw.connection.send(packet(tag, [to_status(0), to_status(1), READ_STATUS]))
    answers = [await raw.answer() for _ in range(100)]
    assert [(one.tag, one.values) for one in answers if one] == [
        (tag, (0, 0, 1)) for tag in range(100)
    ]


async def test_the_largest_batch_is_executed(raw: RawChannel) -> None:
    """It is 4000 accesses."""
    answer = await raw.ask(*[READ_MAGIC] * LIMIT)
    assert answer.values == (mmio.MMIO_MAGIC,) * LIMIT


async def test_a_refused_access_is_named_and_the_channel_goes_on(raw: RawChannel) -> None:
    """The values before it are answered; nothing behind it is executed."""
    answer = await raw.ask(to_status(1), (mmio.STATUS.offset + 1, 4, 0), to_status(0))
    assert answer.values == (0,)
    assert answer.refusal is not None
    assert answer.refusal[0] == "MISALIGNED"
    assert (await raw.ask(READ_STATUS)).values == (1,)


async def test_a_guard_that_is_not_met_ends_its_batch(raw: RawChannel) -> None:
    """Its value is the last; that is no refusal."""
    answer = await raw.ask((mmio.STATUS.offset, 4 | GUARD, 1 << 32 | 1), to_status(1))
    assert (answer.values, answer.refusal) == ((0,), None)
    assert (await raw.ask(READ_STATUS)).values == (0,)


async def test_grpc_and_the_channel_leave_the_same_traces(
    served: Served, raw: RawChannel, device: VirtioMmio
) -> None:
    """The events of the recorder and the counters are those of one dispatcher."""
    batch = [
        to_status(1),
        (mmio.STATUS.offset, 4 | GUARD, 1 << 32 | 1),
        READ_MAGIC,
        (mmio.STATUS.offset, 4 | WRITE, 0x1FF),
        (0xFF0, 8, 0),
    ]
    recorder = device.interrupt.recorder

    async def traces(execute: Callable[[], Any]) -> tuple[Any, ...]:
        counters, first = await stats(served), recorder.next
        await execute()
        after = await stats(served)
        events = recorder.read(first, 100)[2]
        fields = ("mmio_reads", "mmio_writes", "mmio_messages", "mmio_errors")
        grown = [getattr(after, name) - getattr(counters, name) for name in fields]
        await raw.ask(to_status(0))
        return grown, events[1:]  # Without the times.

    async def by_grpc() -> None:
        stream = RegisterServiceStub(served.channel).Access(metadata=raw.metadata)
        offsets, ops, values = ([one[column] for one in batch] for column in range(3))
        await stream.write(register_pb2.AccessRequest(offsets=offsets, ops=ops, values=values))
        await stream.read()
        stream.cancel()

    await raw.ask(*batch)  # The first violation of a rule has an event of its own.
    await raw.ask(to_status(0))
    assert await traces(lambda: raw.ask(*batch)) == await traces(by_grpc)


async def stats(served: Served) -> device_pb2.GetStatsResponse:
    """Return the counters."""
    return await served.control.GetStats(device_pb2.GetStatsRequest())


async def test_a_refusal_is_a_violation_in_the_trace(raw: RawChannel, device: VirtioMmio) -> None:
    """The event names offset, value and reason."""
    first = device.interrupt.recorder.next
    await raw.ask((mmio.MAGIC_VALUE.offset, 4 | WRITE, 5))
    _, _, columns, notes = device.interrupt.recorder.read(first, 10)
    assert trace_pb2.EVENT_KIND_WRITE_REFUSED in columns[1]
    assert any("read-only" in note[1] for note in notes)


# -- The session -----------------------------------------------------------------------------------


async def test_the_end_of_the_session_ends_the_channel(served: Served, raw: RawChannel) -> None:
    """Detach closes the connection."""
    await served.control.Detach(device_pb2.DetachRequest(), metadata=raw.metadata)
    assert await raw.answer() is None


async def test_a_connection_that_ends_releases_the_device(served: Served, raw: RawChannel) -> None:
    """The next driver finds it reset."""
    await raw.ask(to_status(1))
    raw.connection.close()
    await detached(served)
    async with raw_channel(served.handover, served.channel) as other:
        assert (await other.ask(READ_STATUS)).values == (0,)


async def test_a_request_before_attach_ends_the_connection(served: Served) -> None:
    """Nothing is executed for a driver that holds nothing."""
    async with handed_over(served.handover) as (raw, ticket):
        raw.connection.send(packet(1, [to_status(1)]))
        assert await raw.answer() is None
        with pytest.raises(grpc.aio.AioRpcError):
            await served.control.Attach(device_pb2.AttachRequest(driver_name="x", ticket=ticket))


# -- Hostile drivers -------------------------------------------------------------------------------

GOOD = packet(1, [READ_MAGIC])


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(b"", id="empty"),
        pytest.param(GOOD[:4], id="half a header"),
        pytest.param(GOOD[:-1], id="short"),
        pytest.param(GOOD + b"\0", id="long"),
        pytest.param(struct.pack("<II", 1, 2) + GOOD[8:], id="count too large"),
        pytest.param(struct.pack("<II", 1, 1 << 28) + GOOD[8:], id="count overflows"),
        pytest.param(GOOD[:13] + b"\1" + GOOD[14:], id="byte is not zero"),
        pytest.param(packet(1, [READ_MAGIC] * (LIMIT + 1)), id="too many"),
    ],
)
async def test_a_malformed_packet_ends_the_connection(
    served: Served, raw: RawChannel, bad: bytes
) -> None:
    """The log says why, the device is reset, and the next driver is served."""
    with capture_logs() as lines:
        raw.connection.send(bad)
        assert await raw.answer() is None
    assert [line["reason"] for line in lines if "reason" in line] == ["BAD_STREAM"]
    await detached(served)
    async with raw_channel(served.handover, served.channel) as other:
        assert (await other.ask(READ_MAGIC)).values == (mmio.MMIO_MAGIC,)


async def test_descriptors_are_not_taken(raw: RawChannel) -> None:
    """They end the connection, and none of them stays open here."""
    reader, writer = os.pipe()
    with capture_logs() as lines:
        socket.send_fds(raw.connection, [GOOD], [writer] * 50)
        os.close(writer)
        assert await raw.answer() is None
    assert [line["reason"] for line in lines if "reason" in line] == ["BAD_STREAM"]
    assert os.read(reader, 1) == b""  # No copy of the other end is left.
    os.close(reader)


async def test_descriptors_whose_close_lingers(served: Served, raw: RawChannel) -> None:
    """The session ends, and nobody waits for their closes."""
    start = time.monotonic()
    with lingering_sockets() as lingering:
        made = [lingering.make() for _ in range(3)]
        socket.send_fds(raw.connection, [GOOD], [*made, *[made[0]] * 200])
        for descriptor in made:
            os.close(descriptor)
        assert await raw.answer() is None
        await detached(served)
        assert time.monotonic() - start < SOON


@pytest.mark.parametrize("value", [0, 1, (1 << 64) - 1])
@pytest.mark.parametrize("op", [0, 3, 0x3F, 0x40, 0x44, 0x7F, 0x80, 0x83, 0xC4, 0xFF])
@pytest.mark.parametrize("offset", [0, 0x70, 0x1000, 0xFFFF_FFFF])
async def test_any_access_is_answered(raw: RawChannel, offset: int, op: int, value: int) -> None:
    """It is executed or refused, and the channel goes on."""
    await raw.ask((offset, op, value))
    assert (await raw.ask(READ_MAGIC)).values == (mmio.MMIO_MAGIC,)


async def test_a_driver_that_does_not_read_is_not_read_from(
    served: Served, raw: RawChannel
) -> None:
    """Its requests wait in its own socket; others are served; once it reads, all are answered."""
    request = packet(5, [READ_MAGIC] * 500)
    sent = 0
    while True:
        try:
            raw.connection.send(request)
            sent += 1
        except BlockingIOError:
            before = await stats(served)
            after = await stats(served)
            if after.mmio_messages == before.mmio_messages:
                break
    for _ in range(sent):
        answer = await raw.answer()
        assert answer is not None
        assert len(answer.values) == 500
    assert (await raw.ask(READ_MAGIC)).values == (mmio.MMIO_MAGIC,)


async def test_a_driver_that_leaves_without_reading_is_released(
    served: Served, raw: RawChannel
) -> None:
    """Its answers are dropped with its connection."""
    request = packet(5, [READ_MAGIC] * 500)
    for _ in range(50):
        try:
            raw.connection.send(request)
        except BlockingIOError:
            await stats(served)
    raw.connection.close()
    await detached(served)


async def test_a_driver_that_never_stops_does_not_keep_others_waiting(
    served: Served, raw: RawChannel
) -> None:
    """While a thread reads registers back to back, calls of others are answered."""
    stop, served_once = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    connection = raw.connection.dup()

    def hammer() -> int:
        connection.settimeout(20)
        count = 0
        with connection:
            while not stop.is_set():
                connection.send(GOOD)
                connection.recv(64)
                count += 1
                loop.call_soon_threadsafe(served_once.set)
        return count

    busy = asyncio.create_task(asyncio.to_thread(hammer))
    await served_once.wait()
    first = (await stats(served)).mmio_messages
    for _ in range(20):
        last = (await stats(served)).mmio_messages
    stop.set()
    assert await busy >= last - first > 0


async def test_a_fault_of_the_model_ends_the_connection(
    served: Served, raw: RawChannel, device: VirtioMmio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log has it, and the service goes on."""

    def fail(offset: int, width: int) -> int:
        raise ZeroDivisionError(offset, width)

    with capture_logs() as lines, monkeypatch.context() as patch:
        patch.setattr(device, "read", fail)
        raw.connection.send(GOOD)
        assert await raw.answer() is None
    assert any(line["log_level"] == "error" for line in lines)
    await detached(served)
    async with raw_channel(served.handover, served.channel) as other:
        assert (await other.ask(READ_MAGIC)).values == (mmio.MMIO_MAGIC,)
