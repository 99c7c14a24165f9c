"""Devices that a machine leaves to guests, driven here by the front end for tests."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.cli import Cli
from tests.support.vhost_user.disk import VhostDisk
from tests.support.vhost_user.front_end import VhostFrontEnd
from virtmesh_client import connect
from virtmesh_client.models import DeviceInfo
from virtmesh_client.top.sample import DeviceSample, Sampler
from virtmesh_common.blk.spec import SECTOR
from virtmesh_common.errors import DeviceNotReady

WRITES = 20
MIB = 1 << 20


@pytest.fixture
def reserved(cli: Cli) -> Cli:
    """Start a machine whose disk and keyboard are left to guests."""
    cli.up("--vhost-user", "--no-serial", "--disk", "disk.img,size=16M", "--input", "keyboard")
    return cli


def test_a_device_for_guests_waits_for_one(reserved: Cli) -> None:
    """It is listed with the socket where it waits, and what it is."""
    with connect(reserved.state.address) as machine:
        disk, keyboard = machine.devices()

    assert (disk.state, disk.detail, disk.driver) == ("reserved", "waits for a guest", "")
    assert disk.vhost_user_socket == str(reserved.run_dir / "vda.vhost-user")
    assert (disk.virtio_device_id, keyboard.virtio_device_id) == (2, 18)


def test_the_kernel_service_does_not_drive_it_but_people_reach_it(reserved: Cli) -> None:
    """Blocks are for the guest; the size, the counters and the keys are still ours."""
    with connect(reserved.state.address) as machine:
        disk = machine.disk("vda")
        with pytest.raises(DeviceNotReady, match="vda is left to guests"):
            disk.read(0, 512)
        before = disk.resize(32 * MIB)
        keyboard = machine.input("keyboard").info()

    assert before == 16 * MIB
    assert keyboard.name == "virtmesh keyboard"


async def test_what_a_guest_does_is_shown(reserved: Cli) -> None:
    """Who drives the disk, with which features, what it has done and how long that took."""
    front_end = await VhostFrontEnd.connect(reserved.run_dir / "vda.vhost-user")
    try:
        await front_end.negotiate()
        await front_end.share()
        disk = VhostDisk(await front_end.start_ring())
        for sector in range(WRITES):
            await disk.write(sector, bytes(SECTOR))
        info, sample = await asyncio.to_thread(look, reserved)
    finally:
        front_end.close()

    assert info.driver.startswith("vhost-user front end ")
    assert "VIRTIO_F_RING_PACKED" in info.features
    assert "VIRTIO_BLK_F_FLUSH" in info.features
    assert info.requests == WRITES
    assert info.interrupts > 0
    assert len(sample.latencies_ns) == WRITES


def look(machine: Cli) -> tuple[DeviceInfo, DeviceSample]:
    """Ask the kernel service about the disk, and take a sample of it as `virtmesh top` does."""
    with connect(machine.state.address) as connection:
        return connection.devices()[0], Sampler(connection).take().devices[0]


def test_a_service_that_is_gone_is_waited_for(reserved: Cli) -> None:
    """A device whose service does not answer is not said to wait for guests."""
    reserved.process("vda")
    with connect(reserved.state.address) as machine:
        endpoint = machine.devices()[0].endpoint.removeprefix("unix:")
        (reserved.run_dir / endpoint).unlink()
        disk = machine.devices()[0]

    assert disk.state == "waiting"
    assert disk.driver == ""


def test_a_flag_for_guests_goes_with_quick_devices_only(cli: Cli) -> None:
    """With a machine file it is refused, with the mend."""
    ran = cli("up", "--vhost-user")

    assert ran.returncode == 2
    assert "vhost-user = true" in ran.stderr


def test_no_device_for_guests_is_said(cli: Cli) -> None:
    """`virtmesh guest` names what starts a machine for it."""
    cli.up("--disk", "disk.img,size=16M")

    ran = cli("guest", "uml")

    assert ran.returncode == 1
    assert "start it with virtmesh up --vhost-user" in ran.stderr
