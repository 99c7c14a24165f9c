"""A load on the guest's disk whose data can be checked, and how far it is."""

from __future__ import annotations

import grpc

from tests.support.guest import Guest
from tests.support.riscv.boot import Rig
from virtmesh_common.api.block.v1 import block_pb2 as pb
from virtmesh_common.api.block.v1.block_pb2_grpc import BlockAdminServiceStub
from virtmesh_common.channel import open_sync_channel

FILES = 40
FILE_BYTES = 65536
READS = "while :; do dd if=/dev/vda of=/dev/null bs=65536 iflag=direct 2>/dev/null; done"
"""Reads the disk past the page cache, so that requests are in flight at any time."""
WRITE_ONE = (
    f"head -c {FILE_BYTES} /dev/urandom >/tmp/f && dd if=/tmp/f of=/mnt/load/$i bs={FILE_BYTES}"
    " conv=fsync 2>/dev/null && sha256sum </tmp/f | sed s/-/$i/ >>/tmp/sums"
)
SECONDS = 400.0
"""Limit for the load, which waits while a device is started again."""


def begin_load(guest: Guest) -> None:
    """Write files that are synced one by one, while the whole disk is read over and over."""
    guest.run("mkdir -p /mnt/load")
    guest.run(f"({READS}) & echo $! >/tmp/reads")
    guest.begin(
        f"i=0; while [ $i -lt {FILES} ]; do {WRITE_ONE} || break; i=$((i+1)); done; echo $i files"
    )


def finish_load(guest: Guest) -> str:
    """Wait for the end of the load; returns what it said. Errors: GuestError; GuestTimeout."""
    said = guest.finish(SECONDS)
    guest.run("kill $(cat /tmp/reads); wait 2>/dev/null; true")
    return said


def check_load(guest: Guest) -> int:
    """Read the files from the disk again; returns how many have the content that was written."""
    guest.run("umount /mnt; echo 3 >/proc/sys/vm/drop_caches; mount -t ext4 /dev/vda /mnt")
    return int(guest.run("cd /mnt/load; sha256sum -c /tmp/sums | grep -c ': OK$'; cd /"))


def requests_done(rig: Rig, kind: str) -> int:
    """Return how many requests of a kind the disk has executed since it started; -1: it is gone."""
    try:
        with open_sync_channel(rig.address("vda")) as channel:
            stats = BlockAdminServiceStub(channel).GetStats(pb.GetStatsRequest())
    except grpc.RpcError:
        return -1
    return next(row.ok for row in stats.requests if row.type == kind)
