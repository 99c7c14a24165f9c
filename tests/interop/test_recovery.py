"""A disk service that is killed under load, and what its guest notices: nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest

from virtmesh.api.block.v1 import block_pb2, block_pb2_grpc
from virtmesh.wire import open_sync_channel
from virtmesh_client.guest.testing import Boot
from virtmesh_client.testing import Cli, eventually

KILLS = 10
WRITES = 20
"""How many requests a service executes before it is killed."""
JOB = (
    "fio --name=job --filename=/dev/vda --direct=1 --rw=randwrite --bsrange=4k-64k --size=48M"
    " --verify=crc32c --verify_fatal=1 --ioengine=libaio --iodepth=8 --thread --rate=1m"
)
"""The rate makes it outlast the kills."""


@contextmanager
def service(cli: Cli) -> Iterator[subprocess.Popen[bytes]]:
    """Serve the disk; it is killed at the end."""
    options = ["--name", "vda", "--image", "disk.img", "--size", "64M"]
    places = ["--listen", "unix:vda.sock", "--vhost-user", "vda.vhost-user"]
    process = subprocess.Popen(
        [sys.executable, "-m", "virtmesh.host.main", "blk", *options, *places],
        cwd=cli.folder,
        stderr=subprocess.DEVNULL,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def writes(cli: Cli) -> int:
    """Return how many writes the service has executed since it started; -1: it is not there."""
    with open_sync_channel(f"unix:{cli.folder / 'vda.sock'}") as channel:
        stub = block_pb2_grpc.BlockAdminServiceStub(channel)
        try:
            stats = stub.GetStats(block_pb2.GetStatsRequest())
        except grpc.RpcError:
            return -1
        return next(row.ok for row in stats.requests if row.type == "OUT")


@pytest.mark.parametrize("rings", [(), ("--packed",)], ids=["split", "packed"])
def test_a_guest_outlives_the_kills_of_its_disk_service(
    rings: tuple[str, ...], cli: Cli, boot: dict[str, Boot]
) -> None:
    """Killed ten times under fio, the service goes on with what was in flight: no byte differs."""
    options = ("--root", "none", "--with", "fio", "--blk-socket", "vda.vhost-user", *rings)
    with service(cli) as first:
        eventually((cli.folder / "vda.vhost-user").exists)
        with boot["qemu"](cli, *options) as guest:
            guest.begin(JOB)
            eventually(lambda: writes(cli) > WRITES)
            first.kill()
            first.wait()
            for _ in range(KILLS - 1):
                with service(cli):
                    eventually(lambda: writes(cli) > WRITES)
            with service(cli):
                said = guest.finish(400)

    assert "err= 0" in said
