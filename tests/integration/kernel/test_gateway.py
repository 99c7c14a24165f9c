"""The gateway asks a device what it offers once for each start of the device, not for each call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.world import World, failure_of
from virtmesh.host.control import ControlPlane
from virtmesh.kernel.device import ProbeState
from virtmesh_common.api.block.v1 import block_pb2
from virtmesh_common.api.block.v1.block_pb2_grpc import BlockAdminServiceStub
from virtmesh_common.api.device.v1 import device_pb2
from virtmesh_common.api.device.v1.device_pb2_grpc import DeviceServiceStub
from virtmesh_common.api.input.v1 import input_pb2
from virtmesh_common.api.input.v1.input_pb2_grpc import InputServiceStub
from virtmesh_common.errors import NotOffered

VDA = (("virtmesh-device", "vda"),)


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Return what counts the Describe calls that devices have answered since it was last asked."""
    calls = 0
    describe = ControlPlane.Describe

    async def counted(plane: ControlPlane, request: Any, context: Any) -> Any:
        nonlocal calls
        calls += 1
        return await describe(plane, request, context)

    def take() -> int:
        nonlocal calls
        taken, calls = calls, 0
        return taken

    monkeypatch.setattr(ControlPlane, "Describe", counted)
    return take


async def get_info(world: World) -> None:
    """Make a call that is forwarded."""
    await BlockAdminServiceStub(world.channel).GetInfo(block_pb2.GetInfoRequest(), metadata=VDA)


async def test_many_calls_describe_the_device_once(
    world: World, described: Callable[[], int]
) -> None:
    """One after the other and at the same time; those that change nothing need no Describe."""
    async with world.serve_disk():
        await world.ready("vda")
        described()

        await DeviceServiceStub(world.channel).GetStats(device_pb2.GetStatsRequest(), metadata=VDA)
        assert described() == 0
        await asyncio.gather(*(get_info(world) for _ in range(10)))
        for _ in range(10):
            await get_info(world)

        assert described() == 1


async def test_a_device_that_starts_again_is_asked_again(
    world: World, described: Callable[[], int]
) -> None:
    """Once, though a call that needs no Describe was the first to reach it."""
    async with world.serve_disk():
        await world.ready("vda")
        await get_info(world)
    await world.server.kernel.device("vda").until(ProbeState.WAITING)
    async with world.serve_disk():
        await world.ready("vda")
        described()

        await DeviceServiceStub(world.channel).GetStats(device_pb2.GetStatsRequest(), metadata=VDA)
        for _ in range(3):
            await get_info(world)

        assert described() == 1


async def test_a_call_that_the_device_does_not_offer_is_refused(
    world: World, described: Callable[[], int]
) -> None:
    """It is no error of disks. The device is asked each time: it may have started again."""
    async with world.serve_disk():
        await world.ready("vda")
        await get_info(world)
        described()
        keys: Any = InputServiceStub(world.channel)

        for _ in range(2):
            failure = await failure_of(keys.ReleaseAll(input_pb2.ReleaseAllRequest(), metadata=VDA))
            assert type(failure) is NotOffered
            assert "vda offers virtmesh.block.v1.BlockAdminService" in failure.message

        assert described() == 2
