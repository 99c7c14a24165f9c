"""Attaching to a device service: one driver at a time, for as long as it lives."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from virtmesh.host import host
from virtmesh.testing.scripted_driver import BlkRequest, GrpcRegisters
from virtmesh_common.api.device.v1 import device_pb2
from virtmesh_common.api.doorbell.v1 import doorbell_pb2, doorbell_pb2_grpc
from virtmesh_common.api.register.v1 import register_pb2, register_pb2_grpc
from virtmesh_common.channel import MESSAGE_LIMIT_BYTES, SESSION_KEY, open_channel
from virtmesh_common.errors import (
    BadStream,
    BadValue,
    DeviceAttached,
    MemoryMissing,
    MessageTooLarge,
    NotAttached,
    VirtmeshError,
    from_rpc_error,
)
from virtmesh_common.virtio import mmio
from virtmesh_common.virtio.features import Feature
from virtmesh_common.virtio.status import Status

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

    from tests.contract.conftest import Served
    from virtmesh.virtio.mmio_device import VirtioMmio

PLAIN = Feature.VIRTIO_F_VERSION_1
READ_MAGIC = register_pb2.AccessRequest(offsets=[0], ops=[4], values=[0])


async def raised(call: Awaitable[object]) -> VirtmeshError:
    """Return the error that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def until_free(served: Served) -> device_pb2.GetStatusResponse:
    """Ask until nobody is attached."""
    while (status := await served.control.GetStatus(device_pb2.GetStatusRequest())).attached:
        pass
    return status


def access_stream(
    served: Served, session: str | None
) -> grpc.aio.StreamStreamCall[register_pb2.AccessRequest, register_pb2.AccessResponse]:
    """Open an Access stream."""
    stub: register_pb2_grpc.RegisterServiceAsyncStub = register_pb2_grpc.RegisterServiceStub(
        served.channel
    )
    metadata = ((SESSION_KEY, session),) if session else ()
    return stub.Access(metadata=metadata)


async def test_a_second_driver_is_refused_with_the_holder(served: Served) -> None:
    """Who is refused learns who has the device, and can attach when it is free."""
    async with served.attached("first"):
        with pytest.raises(DeviceAttached) as caught:
            async with served.attached("second"):
                pass
    assert caught.value.metadata == {"holder": "first"}
    await until_free(served)
    async with served.attached("second"):
        status = await served.control.GetStatus(device_pb2.GetStatusRequest())
        assert (status.attached, status.driver_name) == (True, "second")


async def test_an_unknown_ticket_is_refused(served: Served) -> None:
    """Without memory there is no attachment."""
    request = device_pb2.AttachRequest(driver_name="test", ticket="nonsense")
    assert isinstance(await raised(served.control.Attach(request)), MemoryMissing)


@pytest.mark.parametrize("name", ["", "x" * 129])
async def test_driver_names_have_a_length(served: Served, name: str) -> None:
    """A name has 1 to 128 characters."""
    request = device_pb2.AttachRequest(driver_name=name, ticket="nonsense")
    assert isinstance(await raised(served.control.Attach(request)), BadValue)


async def test_hanging_up_resets_the_device(served: Served) -> None:
    """A driver that vanishes leaves a device that is reset and free."""
    async with served.attached() as driver:
        await driver.bring_up(PLAIN)
        assert await driver.get(mmio.STATUS) & Status.DRIVER_OK
    status = await until_free(served)
    assert (status.device_status, status.driver_features) == (0, 0)
    with pytest.raises(NotAttached):
        await driver.get(mmio.STATUS)
    async with served.attached() as driver:
        await driver.bring_up(PLAIN)
        assert (await driver.request(BlkRequest.read(0, 512)))[0] == 0


async def test_detach_gives_the_device_back(served: Served) -> None:
    """After Detach the session is over and the device is reset."""
    async with served.attached() as driver:
        await driver.bring_up(PLAIN)
        plane = driver.plane
        assert isinstance(plane, GrpcRegisters)
        await served.control.Detach(device_pb2.DetachRequest(), metadata=plane.metadata)
        status = await served.control.GetStatus(device_pb2.GetStatusRequest())
        assert (status.attached, status.device_status) == (False, 0)
        with pytest.raises(NotAttached):
            await driver.get(mmio.STATUS)
        again = served.control.Detach(device_pb2.DetachRequest(), metadata=plane.metadata)
        assert isinstance(await raised(again), NotAttached)


async def test_a_detach_whose_caller_gives_up_is_completed(
    served: Served, device: VirtioMmio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver may die while it waits for Detach: the device becomes free all the same."""
    begun, go_on = asyncio.Event(), asyncio.Event()
    reset_done = device.reset_done

    async def held() -> bool:
        begun.set()
        await go_on.wait()
        return await reset_done()

    async with served.attached() as driver:
        await driver.bring_up(PLAIN)
        plane = driver.plane
        assert isinstance(plane, GrpcRegisters)
        monkeypatch.setattr(device, "reset_done", held)
        call = served.control.Detach(device_pb2.DetachRequest(), metadata=plane.metadata)
        await begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    go_on.set()
    async with asyncio.timeout(10):
        await until_free(served)
    async with served.attached("next"):
        pass


async def test_a_drain_that_is_given_up_leaves_nothing_behind(
    served: Served, device: VirtioMmio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for the requests of a driver ends with the service."""
    begun = asyncio.Event()

    async def held() -> bool:
        begun.set()
        return await asyncio.Event().wait()

    monkeypatch.setattr(host, "DRAIN_SECONDS", 0.05)
    address, handover = f"unix:{tmp_path / 'own.sock'}", tmp_path / "own.handover"
    service = host.Host(device, host.Addresses([address], handover))
    await service.start()
    async with open_channel(address) as channel:
        own = replace(served, host=service, address=address, handover=handover, channel=channel)
        async with own.attached() as driver:
            await driver.bring_up(PLAIN)
            monkeypatch.setattr(device, "reset_done", held)
        await begun.wait()
        drained = await service.stop()
    await asyncio.sleep(0)
    assert not drained
    assert "detach" not in {task.get_name() for task in asyncio.all_tasks()}


async def test_only_the_holder_touches_the_device(served: Served) -> None:
    """With a driver attached, nobody else reads, writes, rings, resets or detaches."""
    async with served.attached("holder"):
        for session in (None, "wrong"):
            stranger = GrpcRegisters(served.channel, session)
            calls = (
                stranger.read(0),
                stranger.write(mmio.STATUS.offset, 0),
                stranger.notify(0),
            )
            for call in calls:
                with pytest.raises(NotAttached):
                    await call
            control, metadata = served.control, stranger.metadata
            for rpc in (
                control.Reset(device_pb2.ResetRequest(), metadata=metadata),
                control.Detach(device_pb2.DetachRequest(), metadata=metadata),
            ):
                error = await raised(rpc)
                assert (type(error), error.metadata) == (NotAttached, {"holder": "holder"})


async def test_anybody_may_look_at_a_free_device(served: Served) -> None:
    """Without a driver, registers need no session; but a queue has no memory to be in."""
    plane = GrpcRegisters(served.channel, None)
    assert await plane.read(0) == mmio.MMIO_MAGIC
    with pytest.raises(NotAttached):
        await plane.notify(0)


async def test_attaching_resets_what_was_driven_by_hand(served: Served) -> None:
    """A driver finds a reset device, whatever somebody did before."""
    await GrpcRegisters(served.channel, None).write(mmio.STATUS.offset, Status.ACKNOWLEDGE)
    async with served.attached() as driver:
        assert await driver.get(mmio.STATUS) == 0


async def test_reset_rpc(served: Served) -> None:
    """Reset does what a write of 0 to Status does, and waits for it."""
    async with served.attached() as driver:
        await driver.bring_up(PLAIN)
        plane = driver.plane
        assert isinstance(plane, GrpcRegisters)
        await served.control.Reset(device_pb2.ResetRequest(), metadata=plane.metadata)
        assert await driver.get(mmio.STATUS) == 0


async def test_batches_are_answered_in_order(served: Served) -> None:
    """An Access stream answers each batch; a refused access ends its batch only."""
    stream = access_stream(served, None)
    await stream.write(register_pb2.AccessRequest(offsets=[0, 4], ops=[4, 4], values=[0, 0]))
    await stream.write(
        register_pb2.AccessRequest(offsets=[0, 2, 4], ops=[4, 4, 4], values=[0, 0, 0])
    )
    await stream.write(READ_MAGIC)
    await stream.done_writing()
    answers = [response async for response in stream]
    assert [list(answer.values) for answer in answers] == [
        [mmio.MMIO_MAGIC, 2],
        [mmio.MMIO_MAGIC],
        [mmio.MMIO_MAGIC],
    ]
    assert [answer.HasField("error") for answer in answers] == [False, True, False]
    assert (answers[1].error.index, answers[1].error.reason) == (1, "MISALIGNED")


@pytest.mark.parametrize(
    "request_",
    [
        register_pb2.AccessRequest(offsets=[0, 0], ops=[4], values=[0]),
        register_pb2.AccessRequest(offsets=[0], ops=[4]),
        register_pb2.AccessRequest(offsets=[0] * 4097, ops=[4] * 4097, values=[0] * 4097),
    ],
    ids=["few ops", "no values", "too many"],
)
async def test_columns_that_make_no_batch(
    served: Served, request_: register_pb2.AccessRequest
) -> None:
    """Columns of different or too great length end the stream, and nothing is executed."""
    stream = access_stream(served, None)
    await stream.write(request_)
    error = await raised(stream.read())
    assert isinstance(error, BadStream)
    stats = await served.control.GetStats(device_pb2.GetStatsRequest())
    assert (stats.mmio_reads, stats.mmio_messages) == (0, 0)


async def test_a_message_over_the_limit_is_refused(served: Served) -> None:
    """One message above the limit ends its stream, not the service."""
    stream = access_stream(served, None)
    big = MESSAGE_LIMIT_BYTES // 4
    # The sender's own limit would catch it first, so the channel of this test has none.
    async with grpc.aio.insecure_channel(served.address) as channel:
        stub: register_pb2_grpc.RegisterServiceAsyncStub = register_pb2_grpc.RegisterServiceStub(
            channel
        )
        stream = stub.Access()
        await stream.write(register_pb2.AccessRequest(offsets=[0xFFFF_FFFF] * big))
        error = await raised(stream.read())
    assert isinstance(error, MessageTooLarge)
    assert await GrpcRegisters(served.channel, None).read(0) == mmio.MMIO_MAGIC


async def test_too_many_rings_in_one_call(served: Served) -> None:
    """Notify takes 64 queues at most."""
    async with served.attached() as driver:
        plane = driver.plane
        assert isinstance(plane, GrpcRegisters)
        stub: doorbell_pb2_grpc.DoorbellServiceAsyncStub = doorbell_pb2_grpc.DoorbellServiceStub(
            served.channel
        )
        request = doorbell_pb2.NotifyRequest(queues=[0] * 65)
        assert isinstance(await raised(stub.Notify(request, metadata=plane.metadata)), BadStream)


async def test_a_stream_ends_with_its_session(served: Served) -> None:
    """An idle Access stream ends when its driver is detached."""
    async with served.attached() as driver:
        plane = driver.plane
        assert isinstance(plane, GrpcRegisters)
        stream = access_stream(served, plane.session)
        await stream.write(READ_MAGIC)
        await stream.read()
        pending = asyncio.ensure_future(raised(stream.read()))
        await served.control.Detach(device_pb2.DetachRequest(), metadata=plane.metadata)
        assert isinstance(await pending, NotAttached)


async def test_a_cancelled_stream_leaves_the_session(served: Served) -> None:
    """A client that cancels its stream can open another."""
    async with served.attached() as driver:
        plane = driver.plane
        assert isinstance(plane, GrpcRegisters)
        for _ in range(2):
            stream = access_stream(served, plane.session)
            await stream.write(READ_MAGIC)
            await stream.read()
            stream.cancel()
        assert await driver.get(mmio.MAGIC_VALUE) == mmio.MMIO_MAGIC


async def test_an_anonymous_stream_ends_when_a_driver_attaches(served: Served) -> None:
    """Who drove a free device by hand may not go on when it is somebody's."""
    stream = access_stream(served, None)
    await stream.write(READ_MAGIC)
    await stream.read()
    async with served.attached():
        await stream.write(READ_MAGIC)
        assert isinstance(await raised(stream.read()), NotAttached)


async def test_describe(served: Served) -> None:
    """Describe says what the device is and where its sockets are."""
    answer = await served.control.Describe(device_pb2.DescribeRequest())
    assert (answer.name, answer.kind, answer.compatible) == ("vda", "blk", "virtio,mmio")
    assert (answer.virtio_device_id, list(answer.queue_size_max)) == (2, [16, 16])
    assert answer.handover_socket == str(served.handover)
    assert list(answer.services) == [
        "virtmesh.block.v1.BlockAdminService",
        "virtmesh.fault.v1.FaultService",
    ]


async def test_stats_count(served: Served) -> None:
    """The counters of the device and of the host come together."""
    async with served.attached() as driver:
        await driver.bring_up(PLAIN)
        for by in ("mmio", "rpc", "eventfd"):
            await driver.request(BlkRequest.read(0, 512), by=by)
        stats = await served.control.GetStats(device_pb2.GetStatsRequest())
    assert stats.requests == 3
    assert stats.interrupts >= 1
    assert (stats.notifications_mmio, stats.notifications_rpc, stats.attaches) == (1, 1, 1)
    assert stats.notifications_eventfd >= 1
    assert stats.resets == 2  # at Attach, and by the driver
