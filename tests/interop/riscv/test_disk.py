"""ext4 of a real kernel on our disk: written, mounted again, checked from outside; resized live."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.riscv.boot import Rig
from tests.support.riscv.writing import STEPS, content, fsck
from virtmesh_common.api.block.v1 import block_pb2 as pb
from virtmesh_common.api.block.v1.block_pb2_grpc import BlockAdminServiceStub
from virtmesh_common.channel import open_sync_channel

SECTOR = 512


@contextmanager
def administration(rig: Rig) -> Iterator[BlockAdminServiceStub]:
    """Connect to the disk's own administration."""
    with open_sync_channel(rig.address("vda")) as channel:
        yield BlockAdminServiceStub(channel)


def test_files_that_the_guest_writes_are_in_the_image(rig: Rig) -> None:
    """They are the same after a second mount; e2fsck finds the image clean; debugfs reads them."""
    sums = ""
    for step in STEPS:
        rig.guest.run(step)
        if "> /mnt/sums" in step:
            sums = rig.guest.run("cat /mnt/sums")
    rig.guest.run("mount -t ext4 /dev/vda /mnt; umount /mnt")

    status, said = fsck(rig.disk)
    found = content(rig.disk)

    assert status == 0, said
    for digest, name in re.findall(r"^([0-9a-f]{64})  \./(.*)$", sums, re.MULTILINE):
        assert found[f"tree/{name}"] == digest
    assert found["tree/three"] == "-> deep/er/3.txt"
    assert "tree/deep/er/9.txt" not in found


def test_no_request_of_the_guest_failed(rig: Rig) -> None:
    """The kernel flushed what it wrote; the disk refused nothing."""
    with administration(rig) as disk:
        before = {row.type: row.ok for row in disk.GetStats(pb.GetStatsRequest()).requests}
        rig.guest.run("mount -t ext4 /dev/vda /mnt; echo x > /mnt/x; sync; rm /mnt/x; umount /mnt")
        after = disk.GetStats(pb.GetStatsRequest()).requests

    rows = {row.type: row for row in after}
    assert all(rows[name].ok > before[name] for name in ("OUT", "FLUSH"))
    assert not [row.type for row in after if row.io_errors or row.unsupported]


def test_a_live_resize_is_seen_and_usable(rig: Rig) -> None:
    """The kernel hears of it by an interrupt; what it writes to the new end is in the image."""
    with administration(rig) as disk:
        old = disk.GetInfo(pb.GetInfoRequest()).capacity_bytes
        new = old + (4 << 20)
        disk.Resize(pb.ResizeRequest(capacity_bytes=new))

    wanted = new // SECTOR
    rig.guest.run(f'until [ "$(cat /sys/block/vda/size)" = {wanted} ]; do usleep 1000; done')
    told = rig.guest.run("dmesg | grep -c 'vda: detected capacity change'")
    rig.guest.run(
        f"echo the end of the disk > /tmp/e; dd if=/tmp/e of=/dev/vda bs=512 seek={wanted - 1}"
        " conv=sync,fsync 2>/dev/null"
    )

    assert int(told) == 1
    with rig.disk.open("rb") as image:
        image.seek(new - SECTOR)
        assert image.read().rstrip(b"\0") == b"the end of the disk\n"
