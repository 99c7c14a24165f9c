"""The interrupt plane: a stream of the line for everybody who watches."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from virtmesh.testing.scripted_driver import BlkRequest
from virtmesh_common.api.device.v1 import device_pb2
from virtmesh_common.api.interrupt.v1 import interrupt_pb2, interrupt_pb2_grpc
from virtmesh_common.channel import open_sync_channel
from virtmesh_common.errors import ShuttingDown, from_rpc_error
from virtmesh_common.virtio import mmio
from virtmesh_common.virtio.features import Feature
from virtmesh_common.virtio.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.contract.conftest import Served
    from virtmesh.virtio.mmio_device import VirtioMmio

Watch = grpc.aio.UnaryStreamCall[interrupt_pb2.WatchRequest, interrupt_pb2.WatchResponse]


def watch(served: Served) -> Watch:
    """Watch the line."""
    stub: interrupt_pb2_grpc.InterruptServiceAsyncStub = interrupt_pb2_grpc.InterruptServiceStub(
        served.channel
    )
    return stub.Watch(interrupt_pb2.WatchRequest())


async def next_of(stream: Watch) -> interrupt_pb2.WatchResponse:
    """Return the next response."""
    response = await stream.read()
    assert isinstance(response, interrupt_pb2.WatchResponse)
    return response


async def test_the_first_response_is_a_snapshot(served: Served) -> None:
    """It comes at once, and shows a line that is not asserted."""
    snapshot = await next_of(watch(served))
    assert snapshot == interrupt_pb2.WatchResponse()


async def test_two_watchers_hear_every_interrupt(served: Served) -> None:
    """Each watcher gets the sequence number of the last interrupt, merged or not."""
    streams = [watch(served), watch(served)]
    for stream in streams:
        await next_of(stream)
    async with served.attached() as driver:
        await driver.bring_up(Feature.VIRTIO_F_VERSION_1)
        for _ in range(20):
            await driver.request(BlkRequest.read(0, 512))
        raised = served.host.device.interrupt.sequence
        for stream in streams:
            seen = 0
            while seen < raised:
                response = await next_of(stream)
                assert response.sequence > seen
                seen = response.sequence
            assert response.asserted
            assert response.interrupt_status == mmio.INTERRUPT_USED_BUFFER
            assert response.device_status & Status.DRIVER_OK


async def test_interrupts_that_nobody_reads_are_merged(served: Served, device: VirtioMmio) -> None:
    """A slow watcher gets few responses, the last of them up to date."""
    stream = watch(served)
    await next_of(stream)
    for _ in range(1000):
        device.interrupt.raise_config()
    responses = [await next_of(stream)]
    while responses[-1].sequence < 1000:
        responses.append(await next_of(stream))
    assert len(responses) < 1000
    assert responses[-1].interrupt_status == mmio.INTERRUPT_CONFIG_CHANGE


async def test_a_fault_is_seen_without_a_read(served: Served, device: VirtioMmio) -> None:
    """DEVICE_NEEDS_RESET comes with the configuration change interrupt."""
    stream = watch(served)
    await next_of(stream)
    device.interrupt.set_fault("for a test")
    assert (await next_of(stream)).device_status & Status.DEVICE_NEEDS_RESET


async def test_the_line_is_observed_only_while_watched(served: Served, device: VirtioMmio) -> None:
    """Native threads signal nobody when nobody watches."""
    first, second = watch(served), watch(served)
    await next_of(first)
    await next_of(second)
    first.cancel()
    device.interrupt.raise_config()
    await next_of(second)
    assert device.interrupt.observed
    second.cancel()
    async with asyncio.timeout(10):
        while device.interrupt.observed:  # calls take turns: the end of the stream gets its own
            await served.control.GetStatus(device_pb2.GetStatusRequest())


async def test_streams_end_when_the_service_stops(served: Served) -> None:
    """The end says that the service stops (to a blocking client: grpc.aio can lose the status)."""
    loop, watching = asyncio.get_running_loop(), asyncio.Event()

    def watch_to_the_end() -> None:
        with open_sync_channel(served.address) as channel:
            stub = interrupt_pb2_grpc.InterruptServiceStub(channel)
            for _ in stub.Watch(interrupt_pb2.WatchRequest()):
                loop.call_soon_threadsafe(watching.set)

    watcher = asyncio.create_task(asyncio.to_thread(watch_to_the_end))
    await watching.wait()
    await served.host.stop()
    with pytest.raises(grpc.RpcError) as caught:
        await watcher
    assert isinstance(from_rpc_error(caught.value), ShuttingDown)


async def test_falls_and_changes_of_causes_are_told(served: Served, device: VirtioMmio) -> None:
    """Each change is a response; the sequence counts interrupts only."""
    stream = watch(served)
    await next_of(stream)
    interrupt = device.interrupt
    used, config = mmio.INTERRUPT_USED_BUFFER, mmio.INTERRUPT_CONFIG_CHANGE
    seen = []
    changes: list[Callable[[], None]] = [
        partial(interrupt.raise_used, 0),
        interrupt.raise_config,
        partial(interrupt.acknowledge, used),
        partial(interrupt.acknowledge, config),
        partial(interrupt.raise_used, 0),
        interrupt.reset,
    ]
    for change in changes:
        change()
        response = await next_of(stream)
        seen.append((response.sequence, response.asserted, response.interrupt_status))
    assert seen == [
        (1, True, used),
        (2, True, used | config),
        (2, True, config),
        (2, False, 0),
        (3, True, used),
        (3, False, 0),
    ]


async def test_an_acknowledgement_that_clears_nothing_is_no_news(
    served: Served, device: VirtioMmio
) -> None:
    """The next response is that of the next change."""
    stream = watch(served)
    await next_of(stream)
    device.interrupt.acknowledge(mmio.INTERRUPT_USED_BUFFER)
    await served.control.GetStatus(device_pb2.GetStatusRequest())
    device.interrupt.raise_config()
    assert (await next_of(stream)).sequence == 1
