"""Linux on a board with a virtio device in each of its 64 slots."""

from __future__ import annotations

from tests.support.riscv.boot import DISK, INPUTS, Rig, at_shell
from tests.support.riscv.parts import Parts

SLOTS = 64
DISKS = [f"more{number}.img" for number in range(30)]
KEYBOARDS = SLOTS - 1 - len(INPUTS) - len(DISKS)
FIRST_IN_DISK = 64
"""So many bytes of each image are looked at."""


def written(rig: Rig) -> set[str]:
    """Return what the guest wrote at the begin of the disks that it may write."""
    images = [(rig.cli.folder / name).read_bytes()[:FIRST_IN_DISK] for name in DISKS]
    return {image.rstrip(b"\0").decode().strip() for image in images}


def test_linux_finds_and_uses_64_devices(riscv: Parts) -> None:
    """Slots that QEMU's board has not are found by the device tree, and their interrupts arrive."""
    options = [f"--disk={name},size=1M" for name in DISKS]
    options += ["--device=input,personality=keyboard"] * KEYBOARDS
    with at_shell(riscv, *options) as rig:
        assert rig.guest.run("ls /sys/bus/virtio/devices | wc -l") == f"{SLOTS}\n"
        count = f"{KEYBOARDS + len(INPUTS)}\n"
        assert rig.guest.run("ls -d /sys/class/input/event* | wc -l") == count
        disks = rig.guest.run("cd /dev && echo vd*").split()
        assert len(disks) == len(DISKS) + 1

        rig.guest.run(
            "for disk in $(ls /dev | grep ^vd | grep -v '^vda$'); do"
            " echo $disk | dd of=/dev/$disk bs=512 conv=sync,fsync 2>/dev/null; done"
        )

        assert written(rig) == set(disks) - {"vda"}
        assert (rig.cli.folder / DISK).exists()
        interrupts = rig.guest.run("grep -cE ' [1-9][0-9]* .*SiFive.*virtio' /proc/interrupts")
        assert int(interrupts) > len(DISKS)
