"""A disk service that is killed under load, and what its guest notices: nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
import pytest

from tests.support.cli import Cli, eventually
from tests.support.guest import Boot
from virtmesh_common.api.block.v1 import block_pb2, block_pb2_grpc
from virtmesh_common.channel import open_sync_channel

KILLS = 10
WRITES = 20
"""How many requests a service executes before it is killed."""
QUEUES = 4
"""Of the disk."""
JOB = (
    "fio --name=job --filename=/dev/vda --direct=1 --rw=randwrite --bsrange=4k-64k"
    " --verify=crc32c --verify_fatal=1 --ioengine=libaio --iodepth=8 --thread"
)
ONE = "--size=48M --rate=1m"
"""The rate makes it outlast the kills."""
EACH = (
    f"--numjobs={QUEUES} --cpus_allowed=0-{QUEUES - 1} --cpus_allowed_policy=split"
    " --size=12M --offset_increment=12M --rate=256k"
)
"""As much in all, by one thread on each processor, so on each queue."""


@dataclass(frozen=True)
class Kind:
    """One kind of guest, and how many jobs write in it."""

    options: tuple[str, ...]
    job: str = ONE
    jobs: int = 1


KINDS = {
    "split": Kind(()),
    "packed, 4 queues": Kind(("--packed", "--cpus", "4", "--queues", "4"), EACH, QUEUES),
}


@contextmanager
def service(cli: Cli) -> Iterator[subprocess.Popen[bytes]]:
    """Serve the disk; it is killed at the end."""
    options = ["--name", "vda", "--image", "disk.img", "--size", "64M"]
    options += ["--queues", str(QUEUES)]
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


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_guest_outlives_the_kills_of_its_disk_service(
    kind: Kind, cli: Cli, boot: dict[str, Boot]
) -> None:
    """Killed ten times under fio, the service goes on with what was in flight: no byte differs."""
    start = ("--root", "none", "--with", "fio", "--blk-socket", "vda.vhost-user")
    with service(cli) as first:
        eventually((cli.folder / "vda.vhost-user").exists)
        with boot["qemu"](cli, *start, *kind.options) as guest:
            guest.begin(f"{JOB} {kind.job}")
            eventually(lambda: writes(cli) > WRITES)
            first.kill()
            first.wait()
            for _ in range(KILLS - 1):
                with service(cli):
                    eventually(lambda: writes(cli) > WRITES)
            with service(cli):
                said = guest.finish(400)

    assert said.count("err= 0") == kind.jobs
