"""The gateway's channel to a device asks it once for its services, however many calls wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from virtmesh.kernel import device_channel
from virtmesh.kernel.device_channel import DeviceChannel
from virtmesh_common.api.device.v1 import device_pb2
from virtmesh_common.api.device.v1.device_pb2_grpc import (
    DeviceServiceServicer,
    add_DeviceServiceServicer_to_server,
)

OFFERED = "virtmesh.block.v1.BlockAdminService"


class SilentDevice(DeviceServiceServicer):
    """A device that answers Describe when the test lets it."""

    def __init__(self) -> None:
        self.describes = 0
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def Describe(self, _request: Any, _context: Any) -> device_pb2.DescribeResponse:
        """Wait for the test."""
        self.describes += 1
        self.asked.set()
        await self.may_answer.wait()
        return device_pb2.DescribeResponse(services=[OFFERED])


@pytest.fixture
async def device() -> SilentDevice:
    """Make the device."""
    return SilentDevice()  # type: ignore[abstract]


@pytest.fixture
async def channel(device: SilentDevice, tmp_path: Path) -> AsyncIterator[DeviceChannel]:
    """Serve the device; return the gateway's channel to it."""
    server = grpc.aio.server()
    add_DeviceServiceServicer_to_server(device, server)
    address = f"unix:{tmp_path}/device.sock"
    server.add_insecure_port(address)
    await server.start()
    channel = DeviceChannel(address)
    yield channel
    await channel.close()
    await server.stop(grace=None)


def code_of(outcome: object) -> grpc.StatusCode:
    """Return how a call failed."""
    assert isinstance(outcome, grpc.aio.AioRpcError), outcome
    code: grpc.StatusCode = outcome.code()
    return code


async def test_calls_to_a_device_that_does_not_answer_fail_side_by_side(
    device: SilentDevice, channel: DeviceChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the error of one Describe; the next call asks again."""
    monkeypatch.setattr(device_channel, "DESCRIBE_TIMEOUT_S", 0.2)

    calls = (channel.find_service(OFFERED) for _ in range(5))
    outcomes = await asyncio.gather(*calls, return_exceptions=True)

    assert [code_of(one) for one in outcomes] == [grpc.StatusCode.DEADLINE_EXCEEDED] * 5
    assert device.describes == 1
    device.may_answer.set()
    monkeypatch.undo()
    assert await channel.find_service(OFFERED)
    assert device.describes == 2


async def test_calls_at_the_same_time_get_one_answer(
    device: SilentDevice, channel: DeviceChannel
) -> None:
    """Whatever they ask for; a no is asked again, a yes is not."""
    asking = asyncio.gather(*(channel.find_service(name) for name in (OFFERED, "other", OFFERED)))
    await device.asked.wait()
    device.may_answer.set()

    assert await asking == [True, False, True]
    assert device.describes == 1
    assert await channel.find_service(OFFERED)
    assert device.describes == 1
    assert not await channel.find_service("other")
    assert device.describes == 2


async def test_a_cancelled_call_takes_no_other_with_it(
    device: SilentDevice, channel: DeviceChannel
) -> None:
    """Though it was the first."""
    first = asyncio.create_task(channel.find_service(OFFERED))
    await device.asked.wait()
    second = asyncio.create_task(channel.find_service(OFFERED))

    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    device.may_answer.set()

    assert await second
    assert device.describes == 1


async def test_a_channel_that_closes_ends_the_wait(
    device: SilentDevice, channel: DeviceChannel
) -> None:
    """Nothing of it is left behind."""
    waiting = asyncio.create_task(channel.find_service(OFFERED))
    await device.asked.wait()

    await channel.close()

    with pytest.raises(asyncio.CancelledError):
        await waiting
