"""Sockets that somebody removes or replaces under a running service."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.contract.conftest import Served, serving
from virtmesh.attach.grpc_bus import GrpcBus
from virtmesh.attach.guest_ram import Ram
from virtmesh.attach.notifier import DoorbellKind
from virtmesh.blk.kind import KIND as BLK
from virtmesh.testing.scripted_driver import BlkRequest
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.errors import VirtmeshError
from virtmesh_common.virtio.features import Feature


def nothing(_: Path) -> None:
    """Leave the path empty."""


def file(path: Path) -> None:
    """Put a file there."""
    path.write_text("not a socket")


def pipe(path: Path) -> None:
    """Put a pipe there."""
    os.mkfifo(path)


def folder(path: Path) -> None:
    """Put a folder there."""
    path.mkdir()


def dead_socket(path: Path) -> None:
    """Put a socket there that nobody listens at."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as dead:
        dead.bind(str(path))


REPLACEMENTS = (nothing, file, pipe, folder, dead_socket)


@pytest.fixture
async def moved(device: VirtioMmio, tmp_path: Path) -> AsyncIterator[Served]:
    """Serve the disk; it may have been stopped at the end."""
    async with serving(device, BLK, folder=tmp_path) as served:
        yield served


@pytest.mark.parametrize("which", ["grpc", "handover"])
@pytest.mark.parametrize("replace", REPLACEMENTS)
async def test_who_is_attached_goes_on_and_others_are_told(
    moved: Served, which: str, replace: Callable[[Path], None]
) -> None:
    """The connections that there are stay; a newcomer gets an error that names the path."""
    path = moved.handover if which == "handover" else Path(moved.address.removeprefix("unix:"))
    async with moved.attached() as driver:
        await driver.bring_up(Feature.VIRTIO_F_VERSION_1)
        path.unlink()
        replace(path)
        assert (await driver.request(BlkRequest.read(3, 512)))[0] == 0
        with Ram(1 << 20) as ram, pytest.raises(VirtmeshError, match=str(path)):
            await GrpcBus.connect(
                moved.address, ram=ram, driver_name="late", doorbell=DoorbellKind.EVENTFD
            )
        assert (await driver.request(BlkRequest.read(3, 512)))[0] == 0
    await moved.host.stop()
    # What is not its own stays.
    stays = replace is not nothing
    assert (path.name in os.listdir(path.parent)) == stays  # noqa: PTH208 - of any kind
