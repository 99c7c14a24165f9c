"""A real kernel's disk: what it does with virtio-blk through vhost-user, ring by ring."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.cli import Cli
from tests.support.guest import Boot, Guest
from virtmesh_client import Machine, connect

MIB = 1 << 20
TOOLS = ("--root", "none", "--with", "mkfs.ext4", "--with", "e2fsck", "--with", "fio",
         "--with", "blkdiscard")  # fmt: skip
DISCARD = "/usr/bin/blkdiscard"
"""Not the one of busybox, which has no -z."""
FOUR = ("--cpus", "4", "--queues", "4")
"""Linux uses as many queues as it has processors."""


@dataclass(frozen=True)
class Kind:
    """One kind of guest, and what its disk is to look like."""

    guest: str
    options: tuple[str, ...] = ()
    queues: int = 1
    packed: bool = False
    without: str = ""
    """Options of the disk for features that it lacks."""
    copy: int = 24
    """Size of the file that is copied, in MiB: emulated processors are slow."""


KINDS = {
    "uml": Kind("uml", without=",without=ring_packed", copy=64),
    "uml-packed": Kind("uml", packed=True, copy=64),
    "qemu": Kind("qemu"),
    "qemu-packed": Kind("qemu", ("--packed",), packed=True),
    "qemu-4-queues": Kind("qemu", FOUR, queues=4),
    "qemu-4-queues-packed": Kind("qemu", (*FOUR, "--packed"), queues=4, packed=True),
}


@dataclass(frozen=True)
class Rig:
    """A guest, and the machine whose disk vda it has."""

    kind: Kind
    guest: Guest
    machine: Machine


@pytest.fixture(scope="module", params=KINDS)
def rig(request: pytest.FixtureRequest, shared: Cli, boot: dict[str, Boot]) -> Iterator[Rig]:
    """Boot a guest on a fresh disk of 128 MiB."""
    kind = KINDS[request.param]
    disk = f"{request.param}.img,size=128M,queues=4{kind.without}"
    shared.up("--vhost-user", "--disk", disk)
    try:
        with (
            boot[kind.guest](shared, *TOOLS, *kind.options) as guest,
            connect(shared.state.address) as machine,
        ):
            yield Rig(kind, guest, machine)
    finally:
        shared("down")


def test_the_rings_are_of_the_kind_that_was_asked_for(rig: Rig) -> None:
    """The guest has its queues, and negotiated packed rings exactly when it was told to."""
    queues = rig.guest.run("ls /sys/block/vda/mq").split()
    # A bit string, from bit 0 on: VIRTIO_F_RING_PACKED is bit 34.
    features = rig.guest.run("cat /sys/block/vda/device/features").strip()

    assert len(queues) == rig.kind.queues
    assert features[34] == str(int(rig.kind.packed))


def test_a_file_system_keeps_what_was_copied_over_a_remount(rig: Rig) -> None:
    """A file is the same after mkfs, copy, umount and mount; e2fsck finds nothing to mend."""
    rig.guest.run(f"dd if=/dev/urandom of=/tmp/source bs=1M count={rig.kind.copy} 2>/dev/null")
    rig.guest.run("mkfs.ext4 -q -F /dev/vda && mount /dev/vda /mnt")
    rig.guest.run("cp /tmp/source /mnt/copy && umount /mnt && mount /dev/vda /mnt")

    sums = [line.split()[0] for line in rig.guest.run("md5sum /tmp/source /mnt/copy").splitlines()]
    rig.guest.run("umount /mnt; rm /tmp/source")

    assert sums[0] == sums[1]
    assert "/dev/vda:" in rig.guest.run("e2fsck -f -n /dev/vda 2>/dev/null")


def test_fio_reads_back_what_it_wrote_at_random(rig: Rig) -> None:
    """Random writes of mixed sizes, several in flight, verify by their checksums."""
    job = "--filename=/dev/vda --direct=1 --rw=randwrite --bsrange=512-64k --size=24M"
    how = "--verify=crc32c --verify_fatal=1 --ioengine=libaio --iodepth=16 --thread"

    said = rig.guest.run(f"fio --name=job {job} {how}", 300)

    assert "err= 0" in said


def test_a_discarded_and_a_zeroed_range_read_as_zeroes(rig: Rig) -> None:
    """What was there before blkdiscard and blkdiscard -z is gone."""
    rig.guest.run("dd if=/dev/urandom of=/dev/vda bs=1M count=24 oflag=direct 2>/dev/null")

    rig.guest.run(f"{DISCARD} -l 8M /dev/vda && {DISCARD} -z -o 8M -l 8M /dev/vda")

    assert rig.guest.run("head -c 16777216 /dev/vda | tr -d '\\0' | wc -c").strip() == "0"
    rest = "tail -c +16777217 /dev/vda | head -c 65536 | tr -d '\\0' | wc -c"
    assert rig.guest.run(rest).strip() != "0"


def test_the_counters_of_guest_and_device_agree(rig: Rig) -> None:
    """Reads, writes, their bytes, flushes and discards: both sides count the same."""
    write = "dd if=/dev/zero of=/dev/vda bs=64k count=50 oflag=direct conv=fsync 2>/dev/null"
    read = "dd if=/dev/vda of=/dev/null bs=32k count=70 iflag=direct 2>/dev/null"
    before = guest_counters(rig.guest), device_counters(rig.machine)

    rig.guest.run(f"{write} && {read} && {DISCARD} -l 8M /dev/vda")

    after = guest_counters(rig.guest), device_counters(rig.machine)
    in_guest, in_device = (
        {key: now[key] - then[key] for key in now} for now, then in zip(after, before, strict=True)
    )
    assert in_guest == in_device
    assert in_guest["bytes written"] == 50 * 64 * 1024
    assert in_guest["flushes"] > 0


def test_the_guest_chooses_the_mode_of_the_cache(rig: Rig) -> None:
    """It finds write-back, and flushes; with write-through it has nothing to flush (5.2.5.2)."""
    mode = "/sys/block/vda/cache_type"
    write = "dd if=/dev/zero of=/dev/vda bs=4k count=1 conv=fsync 2>/dev/null"

    found = rig.guest.run(f"cat {mode}").strip()
    back = flushes(rig, write)
    rig.guest.run(f"echo 'write through' > {mode}")
    through = flushes(rig, write)
    rig.guest.run(f"echo 'write back' > {mode}")

    assert found == "write back"
    assert back > 0
    assert through == 0
    assert flushes(rig, write) == back


def test_a_live_resize_is_seen_without_a_reboot(rig: Rig) -> None:
    """The guest's disk has the new size, and the new blocks hold what is written to them."""
    rig.machine.disk("vda").resize(160 * MIB)

    rig.guest.run("until [ $(cat /sys/block/vda/size) = 327680 ]; do :; done", 30)

    mark = "dd if=/dev/vda bs=1M skip=159 count=1 2>/dev/null | md5sum"
    rig.guest.run("dd if=/dev/urandom of=/tmp/mark bs=1M count=1 2>/dev/null")
    rig.guest.run("dd if=/tmp/mark of=/dev/vda bs=1M seek=159 oflag=direct 2>/dev/null")
    assert rig.guest.run(mark).split()[0] == rig.guest.run("md5sum /tmp/mark").split()[0]


def flushes(rig: Rig, command: str) -> int:
    """Return how many flushes the device executes while the guest runs a command."""
    before = device_counters(rig.machine)["flushes"]
    rig.guest.run(command)
    return device_counters(rig.machine)["flushes"] - before


def guest_counters(guest: Guest) -> dict[str, int]:
    """Read /sys/block/vda/stat (Documentation/block/stat.rst)."""
    numbers = [int(text) for text in guest.run("cat /sys/block/vda/stat").split()]
    # A flush without data is counted as a write of nothing, too (blk_account_io_done).
    writes = numbers[4] - numbers[15]
    return {
        "reads": numbers[0],
        "bytes read": numbers[2] * 512,
        "writes": writes,
        "bytes written": numbers[6] * 512,
        "discards": numbers[11],
        "flushes": numbers[15],
    }


def device_counters(machine: Machine) -> dict[str, int]:
    """Ask the device service for the same."""
    rows = {row.type: row for row in machine.disk("vda").stats().requests}
    return {
        "reads": rows["IN"].ok,
        "bytes read": rows["IN"].bytes,
        "writes": rows["OUT"].ok,
        "bytes written": rows["OUT"].bytes,
        "discards": rows["DISCARD"].ok,
        "flushes": rows["FLUSH"].ok,
    }
