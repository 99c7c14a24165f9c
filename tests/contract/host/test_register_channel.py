"""The register channel, from drivers that send anything: the same registers as by gRPC."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from structlog.testing import capture_logs

from tests.contract.conftest import Served, serving
from tests.support.line_end import LineEnd
from tests.support.raw_channel import RawAnswer, RawChannel, handed_over, packet, raw_channel
from tests.support.storage_gate import gated
from virtmesh.attach.asyncfd import readable
from virtmesh.attach.guest_ram import PageAllocator
from virtmesh.blk.kind import KIND as BLK
from virtmesh.blk.model import BlkModel, BlkOptions
from virtmesh.host.batch import GUARD, WRITE
from virtmesh.testing.scripted_driver import BlkRequest, ScriptedDriver
from virtmesh.uart.model import UartDevice, UartOptions
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.api.device.v1 import device_pb2
from virtmesh_common.api.register.v1 import register_pb2
from virtmesh_common.api.register.v1.register_pb2_grpc import RegisterServiceStub
from virtmesh_common.api.trace.v1 import trace_pb2
from virtmesh_common.channel import SESSION_KEY
from virtmesh_common.errors import NotAttached, ResetUnderWay, from_rpc_error
from virtmesh_common.memory_map import RAM_ADDRESS
from virtmesh_common.uart.spec import Ier, Registers
from virtmesh_common.virtio import mmio
from virtmesh_common.virtio.features import Feature

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

    assert await traces(lambda: raw.ask(*batch)) == await traces(by_grpc)


async def stats(served: Served) -> device_pb2.GetStatsResponse:
    """Return the counters."""
    return await served.control.GetStats(device_pb2.GetStatsRequest())


async def test_a_refusal_is_a_violation_in_the_trace(raw: RawChannel, device: VirtioMmio) -> None:
    """The event names offset, value and reason."""
    first = device.interrupt.recorder.next
    await raw.ask((mmio.MAGIC_VALUE.offset, 4 | WRITE, 5))
    _, _, columns, notes = device.interrupt.recorder.read(first, 10)
    assert columns[1][0] == trace_pb2.EVENT_KIND_WRITE_REFUSED
    assert any("read-only" in note[1] for note in notes)


# -- The line --------------------------------------------------------------------------------------


async def told(raw: RawChannel) -> None:
    """Wait until the line eventfd is signalled."""
    while not raw.line_told():
        await readable(raw.line)


async def test_a_used_buffer_signals_the_line(served: Served) -> None:
    """It rises from a native thread; the channel tells the level, and the fall by its answer."""
    async with served.attached(by_channel=True) as driver:
        await driver.bring_up(Feature.VIRTIO_F_VERSION_1)
        interrupt = served.host.device.interrupt
        line = os.eventfd(0, os.EFD_NONBLOCK)
        interrupt.set_line_call(line)
        driver.add(BlkRequest.read(0, 512))
        await driver.ring(0, by="eventfd")
        await readable(line)
        os.eventfd_read(line)
        await driver.put(mmio.INTERRUPT_ACK, 3)
        with pytest.raises(BlockingIOError):
            os.eventfd_read(line)
        interrupt.set_line_call(None)
        os.close(line)


async def test_the_line_is_signalled_for_what_no_answer_tells(
    served: Served, raw: RawChannel, device: VirtioMmio
) -> None:
    """A rise, a new cause, and a fall by the gRPC of the same driver; no fall by the channel."""
    device.interrupt.raise_config()
    assert raw.line_told()
    device.interrupt.raise_config()
    assert not raw.line_told()
    device.interrupt.raise_used(0)
    assert raw.line_told()
    assert not (await raw.ask(ACKNOWLEDGE_ALL)).asserted
    assert not raw.line_told()
    device.interrupt.raise_config()
    assert raw.line_told()
    request = register_pb2.WriteRequest(offset=mmio.INTERRUPT_ACK.offset, width_bytes=4, value=3)
    await RegisterServiceStub(served.channel).Write(request, metadata=raw.metadata)
    assert raw.line_told()


async def test_a_serial_port_signals_its_line(
    serve: Callable[..., AbstractAsyncContextManager[Served]],
) -> None:
    """A character raises it; the answer to the write of IER tells its own rise and fall."""
    port = UartDevice("serial", UartOptions())
    end = LineEnd(port.line)
    async with serve(port) as served, raw_channel(served.handover, served.channel) as raw:
        ier = UART.ier.offset
        risen = await raw.ask((ier, 1 | WRITE, int(Ier.ETBEI)))
        fallen = await raw.ask((ier, 1 | WRITE, 0))
        assert (risen.asserted, fallen.asserted, raw.line_told()) == (True, False, False)
        await raw.ask((UART.lcr.offset, 1 | WRITE, 3), (ier, 1 | WRITE, int(Ier.ERBFI)))
        end.line.send_now(b"x")
        await told(raw)
        assert (await raw.ask()).asserted
        read = await raw.ask((UART.rbr.offset, 1, 0))
        assert (read.values, read.asserted) == ((ord("x"),), False)


async def test_the_line_of_a_driver_that_left_is_not_signalled(
    served: Served, raw: RawChannel, device: VirtioMmio
) -> None:
    """Detach drops the eventfd with the rest."""
    await served.control.Detach(device_pb2.DetachRequest(), metadata=raw.metadata)
    device.interrupt.raise_config()
    assert not raw.line_told()


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


# -- Resets ----------------------------------------------------------------------------------------


async def test_a_reset_is_answered_when_it_is_done(served: Served) -> None:
    """With a live queue before, many times; the next access finds the device reset."""
    async with served.attached(by_channel=True) as driver:
        for _ in range(300):
            driver.ram.pages = PageAllocator(RAM_ADDRESS, driver.ram.size)
            await driver.bring_up(Feature.VIRTIO_F_VERSION_1)
            await driver.put(mmio.STATUS, 0)
            assert await driver.get(mmio.STATUS) == 0


@pytest.fixture
async def stuck(image: Path, tmp_path: Path) -> AsyncIterator[tuple[Served, Any]]:
    """Serve a disk whose storage answers when the test says so."""

    def make() -> VirtioMmio:
        return VirtioMmio(BlkModel("vda", BlkOptions(image, queues=2)))

    device, gate = gated(make, "preadv2")
    async with serving(device, BLK, folder=tmp_path) as served:
        yield served, gate
        gate.open()
    device.close()


async def busy(driver: ScriptedDriver, gate: Any) -> Any:
    """Have a large read in the storage. Returns the call that is held."""
    await driver.bring_up(Feature.VIRTIO_F_VERSION_1)
    driver.add(BlkRequest.read(8, 128 << 10))
    await driver.ring(0, by="eventfd")
    return await asyncio.to_thread(gate.next)


async def test_others_go_on_while_a_reset_waits(stuck: tuple[Served, Any]) -> None:
    """The answer comes when the storage has answered."""
    served, gate = stuck
    async with served.attached(by_channel=True) as driver:
        held = await busy(driver, gate)
        reset = asyncio.ensure_future(driver.put(mmio.STATUS, 0))
        while not served.host.device.settling:
            await stats(served)
        assert not reset.done()
        held.let_go()
        gate.open()
        await reset
        assert await driver.get(mmio.STATUS) == 0


async def test_a_driver_that_leaves_while_its_reset_waits_is_released(
    stuck: tuple[Served, Any],
) -> None:
    """The end is seen although nothing is received meanwhile."""
    served, gate = stuck
    async with served.attached(by_channel=True) as driver:
        held = await busy(driver, gate)
        reset = asyncio.ensure_future(driver.put(mmio.STATUS, 0))
        while not served.host.device.settling:
            await stats(served)
    reset.cancel()
    held.let_go()
    gate.open()
    await detached(served)


async def test_a_detach_while_a_reset_waits_ends_the_channel(stuck: tuple[Served, Any]) -> None:
    """Whoever waits for the answer hears the end of the connection."""
    served, gate = stuck
    async with served.attached(by_channel=True) as driver:
        held = await busy(driver, gate)
        reset = asyncio.ensure_future(driver.put(mmio.STATUS, 0))
        while not served.host.device.settling:
            await stats(served)
        plane: Any = driver.plane
        detach = served.control.Detach(
            device_pb2.DetachRequest(), metadata=((SESSION_KEY, plane.session),)
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await detach
        assert isinstance(from_rpc_error(caught.value), ResetUnderWay)
        held.let_go()
        gate.open()
        with pytest.raises(NotAttached):
            await reset
