"""Looks at a device: when they are due, and which answer counts of those that overlap."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc.aio

from virtmesh.drivers.settings import Settings
from virtmesh.kernel.kernel import Kernel
from virtmesh.kernel.tree import make_blob
from virtmesh.machine import DeviceEntry, Machine
from virtmesh_common.api.device.v1 import device_pb2 as pb
from virtmesh_common.api.device.v1.device_pb2_grpc import (
    DeviceServiceServicer,
    add_DeviceServiceServicer_to_server,
)

SECONDS = 20.0


class SlowAnswers(DeviceServiceServicer):
    """A disk that begins to hold a request while its first answer, given before, is on the way."""

    def __init__(self) -> None:
        self.first_is_read = asyncio.Event()
        self.let_first_go = asyncio.Event()
        self._calls = 0

    async def Describe(self, request: pb.DescribeRequest, context: Any) -> pb.DescribeResponse:
        """Say what it is."""
        return pb.DescribeResponse(virtio_device_id=2, kind="blk", vhost_user_socket="/guests")

    async def GetStatus(self, request: pb.GetStatusRequest, context: Any) -> pb.GetStatusResponse:
        """Say that nothing is held, to the first who asks; hold a request from then on."""
        self._calls += 1
        if self._calls > 1:
            held = pb.Execution(request="IN at sector 8", held="ENOSPC", age_us=1)
            return pb.GetStatusResponse(attached=True, executing=held)
        self.first_is_read.set()
        await self.let_first_go.wait()
        return pb.GetStatusResponse(attached=True)

    async def GetStats(self, request: pb.GetStatsRequest, context: Any) -> pb.GetStatsResponse:
        """Say nothing of interest."""
        return pb.GetStatsResponse()


def test_an_idle_device_is_looked_at_less_often_from_look_to_look(tmp_path: Path) -> None:
    """Each turn is a second: 5 seconds after the first look, then 10 from then on."""
    entry = DeviceEntry(name="vda", kind="blk", endpoint=f"unix:{tmp_path}/vda.sock", slot=0)
    device = Kernel(make_blob(Machine(name="test", devices=(entry,))), Settings()).device("vda")

    turns = [turn for turn in range(1, 50) if device.takes_turn()]
    assert turns == [5, 15, 25, 35, 45]

    device.silent = True
    assert device.takes_turn()
    device.silent = False
    assert [device.takes_turn() for _ in range(5)] == [False] * 4 + [True]


async def test_a_late_answer_does_not_replace_a_newer_one(tmp_path: Path) -> None:
    """Whoever asks now must not be told what was so before."""
    endpoint = f"unix:{tmp_path / 'device.sock'}"
    entry = DeviceEntry(name="vda", kind="blk", endpoint=endpoint, slot=0, vhost_user="guests")
    device = Kernel(make_blob(Machine(name="test", devices=(entry,))), Settings()).device("vda")
    answers = SlowAnswers()  # type: ignore[abstract]
    server = grpc.aio.server()
    add_DeviceServiceServicer_to_server(answers, server)
    server.add_insecure_port(endpoint)
    await server.start()
    try:
        async with asyncio.timeout(SECONDS):
            first = asyncio.create_task(device.look())
            await answers.first_is_read.wait()
            await device.look()
            assert device.news.startswith("holds IN at sector 8")
            answers.let_first_go.set()
            await first
    finally:
        await server.stop(None)

    assert device.news.startswith("holds IN at sector 8")
