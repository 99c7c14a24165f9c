"""What calls hold of budgets is given back, however they end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import grpc.aio
import pytest

from tests.bench.attacks import Rig, attacking
from tests.support.cli import eventually
from virtmesh_common.api.input.v1 import input_pb2, input_pb2_grpc
from virtmesh_common.api.kernel.v1 import block_device_pb2, block_device_pb2_grpc
from virtmesh_common.api.metrics.v1 import metrics_pb2, metrics_pb2_grpc
from virtmesh_common.api.register.v1 import register_pb2, register_pb2_grpc
from virtmesh_common.api.trace.v1 import trace_pb2, trace_pb2_grpc
from virtmesh_common.channel import DEVICE_KEY, open_channel, open_sync_channel
from virtmesh_common.time_limit import time_limit

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]

CALLS = int(os.environ.get("VIRTMESH_LEAKS", "40"))
"""Calls of each kind that end in each way."""
AT_ONCE = 20
PATIENCE_S = 60.0
KILLED = ("stalled-reads", "traces", "batches")
"""Attacks whose processes are killed: their connections end in the middle of everything."""


def used(address: str) -> dict[str, float]:
    """Return what is held of each limit, as the metrics of a service say."""
    with open_sync_channel(address) as channel:
        stub = metrics_pb2_grpc.MetricsServiceStub(channel)
        answer = stub.Collect(metrics_pb2.CollectRequest(), timeout=PATIENCE_S)
    [found] = [one for one in answer.families if one.name == "virtmesh_limit_used"]
    return dict(zip(found.series, found.values, strict=True))


@pytest.fixture
def idle(rig: Rig) -> Callable[[], bool]:
    """Say whether no more is held than before the test, of any limit of any service."""
    places = rig.kernel, rig.spare
    before = [used(place) for place in places]

    def as_before() -> bool:
        return all(
            now <= then[series]
            for place, then in zip(places, before, strict=True)
            for series, now in used(place).items()
        )

    return as_before


def begin(machine: grpc.aio.Channel, device: grpc.aio.Channel, limit: float | None) -> list[Any]:
    """Begin a call of each kind that holds something; none of them ends soon by itself."""
    disks = block_device_pb2_grpc.BlockDeviceServiceStub(machine)
    header = block_device_pb2.WriteHeader(device="vda", offset_bytes=0)
    batch = register_pb2.AccessRequest(offsets=[0] * 4096, ops=[4] * 4096, values=[0] * 4096)

    async def endless(message: Any) -> Any:
        while True:
            yield message
            await asyncio.sleep(0)

    async def write() -> Any:
        yield block_device_pb2.WriteRequest(header=header)
        while True:
            yield block_device_pb2.WriteRequest(data=bytes(4096))
            await asyncio.sleep(0)

    return [
        disks.Read(block_device_pb2.ReadRequest(device="vda"), timeout=limit),
        disks.Write(write(), timeout=limit),
        trace_pb2_grpc.TraceServiceStub(machine).Watch(
            trace_pb2.WatchRequest(device="vda"), timeout=limit
        ),
        input_pb2_grpc.InputServiceStub(machine).Key(
            input_pb2.KeyRequest(chords=["a"] * 8),
            timeout=limit,
            metadata=((DEVICE_KEY, "keyboard"),),
        ),
        register_pb2_grpc.RegisterServiceStub(device).Access(endless(batch), timeout=limit),
    ]


async def end_calls(rig: Rig, limit: float | None) -> None:
    """Begin calls, and cancel them, unless a deadline ends them."""
    async with (
        time_limit(PATIENCE_S + CALLS),
        open_channel(rig.kernel) as machine,
        open_channel(rig.spare) as device,
    ):
        for number in range(0, CALLS, AT_ONCE):
            calls = [one for _ in range(AT_ONCE) for one in begin(machine, device, limit)]
            if limit is None:
                if number % (2 * AT_ONCE):  # Those have begun; of the others some have not.
                    await asyncio.gather(*(one.initial_metadata() for one in calls[::5]))
                for call in calls:
                    call.cancel()
            await asyncio.gather(*(call.code() for call in calls), return_exceptions=True)


@pytest.mark.parametrize("limit", [None, 0.001, 0.05], ids=["cancelled", "1 ms", "50 ms"])
async def test_calls_give_back_what_they_hold(
    rig: Rig, idle: Callable[[], bool], limit: float | None
) -> None:
    """Whether they have begun or wait for it."""
    await end_calls(rig, limit)
    await asyncio.to_thread(eventually, idle)


@pytest.mark.parametrize("attack", KILLED)
def test_dead_clients_give_back_what_they_hold(
    rig: Rig, idle: Callable[[], bool], attack: str
) -> None:
    """Hundreds of streams of a process that is killed."""
    with attacking(rig, attack):
        assert not idle()
    eventually(idle)
