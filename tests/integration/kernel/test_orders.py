"""A device that somebody has reset, detached and attached, through the kernel service."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.storage_gate import gated
from tests.support.world import World, failure_of, make_image, serving_device
from virtmesh.attach.grpc_bus import GrpcBus
from virtmesh.attach.guest_ram import Ram
from virtmesh.blk.model import BlkModel, BlkOptions
from virtmesh.kernel.device import ProbeState
from virtmesh.kinds import find_kind
from virtmesh.machine import DoorbellKind
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_client.async_machine import AsyncMachine
from virtmesh_client.machine import Machine
from virtmesh_common.errors import DeviceLost, DeviceNotFound, DeviceNotReady

LARGE = 8 << 20
"""The kernel reads so much in pieces that grow: the engine reads those that are large."""


def client(world: World) -> AsyncMachine:
    """Connect to the machine."""
    return AsyncMachine(Machine(f"unix:{world.folder}/kernel.sock"))


async def test_a_reset_device_comes_back_with_its_data(world: World) -> None:
    """The answer comes when the driver uses the device again: it was attached twice by then."""
    async with world.serve_disk(), client(world) as machine:
        await world.ready("vda")
        await world.write(0, [b"kept"])

        assert await machine.reset("vda") == "ready"

        assert await world.read(0, 4) == b"kept"
        assert world.server.kernel.device("vda").attaches == 2


async def test_a_detached_device_is_anybodys_until_it_is_attached(world: World) -> None:
    """Another driver takes it; the kernel has it again when that one is gone."""
    async with world.serve_disk(), client(world) as machine:
        await world.ready("vda")

        await machine.detach("vda")

        assert [one.state for one in await machine.devices() if one.name == "vda"] == ["detached"]
        assert isinstance(await failure_of(world.read(0, 4)), DeviceNotReady)
        with Ram(1 << 20) as ram:
            other = await GrpcBus.connect(
                f"unix:{world.folder}/vda.sock",
                ram=ram,
                driver_name="other",
                doorbell=DoorbellKind.RPC,
            )
            await other.close()
        assert await machine.attach("vda") == "ready"
        assert len(await world.read(0, 4)) == 4


async def test_a_reset_ends_a_detachment(world: World) -> None:
    """Nobody has to attach it first."""
    async with world.serve_disk(), client(world) as machine:
        await world.ready("vda")
        await machine.detach("vda")

        assert await machine.reset("vda") == "ready"


async def test_a_device_that_is_waited_for_can_be_detached(world: World) -> None:
    """Its service does not answer: the kernel stops asking."""
    async with client(world) as machine:
        await machine.detach("vda")

        device = world.server.kernel.device("vda")
        assert device.state is ProbeState.DETACHED

        async with world.serve_disk():
            assert await machine.attach("vda") == "ready"


async def test_who_has_a_device_reset_that_waits_for_its_storage_is_told_so(world: World) -> None:
    """The detail names the request; when the storage answers, the device is used again."""

    def make() -> VirtioMmio:
        return VirtioMmio(BlkModel("vda", BlkOptions(make_image(world.folder / "vda.img"))))

    disk, gate = gated(make, "preadv2")
    try:
        async with serving_device(world.folder, disk, find_kind("blk")), client(world) as machine:
            await world.ready("vda")
            reading = asyncio.create_task(world.read(0, LARGE))
            await asyncio.to_thread(gate.next)
            device = world.server.kernel.device("vda")

            for order in (machine.reset, machine.attach):
                assert await order("vda") == "waiting"
                assert "(IN at sector " in device.detail
            assert isinstance(await failure_of(reading), DeviceLost)

            gate.open()
            await world.ready("vda")
    finally:
        gate.open()


async def test_an_order_for_an_unknown_device_is_refused(world: World) -> None:
    """The error names it."""
    async with client(world) as machine:
        with pytest.raises(DeviceNotFound, match="vdz"):
            await machine.reset("vdz")
