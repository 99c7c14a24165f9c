"""Who has the device: one front end or driver at a time, and what is left when it goes."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.support.vhost_user.backend import Backend, Reasons, open_descriptors, serve, wait_closed
from tests.support.vhost_user.disk import VhostDisk
from virtmesh.attach.grpc_bus import GrpcBus
from virtmesh.attach.guest_ram import Ram
from virtmesh.machine import DoorbellKind
from virtmesh.vhost_user.messages import Request
from virtmesh_common.blk.spec import SECTOR, RequestStatus, RequestType
from virtmesh_common.errors import AddressTaken, DeviceAttached
from virtmesh_common.virtio.features import Feature


async def test_a_front_end_that_dies_with_requests_in_flight_leaves_a_clean_device(
    backend: Backend,
) -> None:
    """They finish, nothing stays open, and the device is reset."""
    before = await open_descriptors(backend)
    await die_with_requests(backend)
    await wait_closed(backend, before)
    assert backend.device.state.device_status == 0


async def test_a_front_end_waits_for_the_one_before_it(backend: Backend) -> None:
    """There is one at a time; the next is served as soon as it goes."""
    async with backend.connected() as second:
        async with backend.driven() as (_, ring):
            second.post(Request.GET_FEATURES)
            assert await VhostDisk(ring).flush() is RequestStatus.VIRTIO_BLK_S_OK
        assert (await second.answer()).request == Request.GET_FEATURES


async def test_a_connection_without_a_word_is_no_driver(backend: Backend) -> None:
    """Whoever only looks whether somebody listens does not reset the device."""
    async with backend.connected():
        pass
    assert await backend.works()
    assert await backend.attaches() == 1


async def test_a_socket_path_in_use_is_refused(backend: Backend, tmp_path: Path) -> None:
    """Another service listens there; it goes on."""
    folder = tmp_path / "other"
    folder.mkdir()
    with pytest.raises(AddressTaken, match="another service listens there"):
        async with serve(folder, path=backend.path):
            pass
    assert await backend.works()


async def test_the_socket_of_a_service_that_is_gone_is_replaced(tmp_path: Path) -> None:
    """What a killed service left behind is in nobody's way."""
    path = tmp_path / "vhost.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    async with serve(tmp_path) as backend:
        assert await backend.works()
    assert not path.exists()


# -- One driver at a time -------------------------------------------------------------------------


async def test_a_front_end_is_turned_away_while_a_driver_is_attached(
    backend: Backend, reasons: Reasons
) -> None:
    """The log names the driver; when it is gone, the next front end is served."""
    with Ram(1 << 20) as ram:
        bus = await attach(backend, ram)
        try:
            async with backend.connected() as front_end:
                front_end.post(Request.GET_FEATURES)
                assert await front_end.lost()
        finally:
            await bus.close()
    assert "attached to the kernel" in reasons()
    assert await backend.works()


async def test_a_driver_is_turned_away_while_a_front_end_has_the_device(backend: Backend) -> None:
    """The refusal, and GetStatus, name the front end by its socket."""
    async with backend.driven():
        with Ram(1 << 20) as ram, pytest.raises(DeviceAttached) as refusal:
            await attach(backend, ram)
        status = await backend.status()
    holder = f"vhost-user front end {backend.path}"
    assert refusal.value.metadata == {"holder": holder}
    assert (status.attached, status.driver_name) == (True, holder)
    assert status.driver_features & Feature.VIRTIO_F_VERSION_1


async def die_with_requests(backend: Backend) -> None:
    """Connect, add requests, and go; nothing of the front end is left in this process."""
    async with backend.driven() as (_, ring):
        disk = VhostDisk(ring)
        for sector in range(16):
            disk.submit(RequestType.VIRTIO_BLK_T_OUT, sector, bytes([sector]) * SECTOR)


async def attach(backend: Backend, ram: Ram) -> GrpcBus:
    """Attach a driver by virtio-mmio."""
    return await GrpcBus.connect(
        backend.address, ram=ram, driver_name="the kernel", doorbell=DoorbellKind.EVENTFD
    )
