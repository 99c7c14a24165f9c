"""The oracle: the same kernel, firmware and initramfs on QEMU's board `virt`.

Usage: python -m tests.support.riscv.qemu FOLDER OUTPUT [--dtb TREE]

FOLDER is what `tools/guests.sh FOLDER riscv64` filled (FOLDER/riscv64). OUTPUT gets boot.log, and
the image disk.img with what the guest wrote (`tests.support.riscv.writing`). It needs
qemu-system-riscv64 (Debian: qemu-system-misc) and mkfs.ext4.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.riscv.boot_log import recorded
from tests.support.riscv.console import power_off, reach_shell, running
from tests.support.riscv.parts import Parts
from tests.support.riscv.writing import make_disk, write_files

MEMORY = "256M"
CPU = "rv64,h=off,v=off,zba=off,zbb=off,zbc=off,zbs=off,sstc=on,debug=off,pmu-num=0"
"""The extensions of virtmesh's hart, as far as QEMU has switches for them."""
APPEND = "console=ttyS0"


def command(
    parts: Parts,
    disk: Path,
    inputs: Sequence[str] = (),
    tree: Path | None = None,
    *,
    append: str = APPEND,
) -> list[str | Path]:
    """Return the command line of QEMU, with a disk in slot 0 and input devices in those after it.

    `inputs` are of "keyboard", "mouse" and "tablet"; `tree` replaces the device tree of the board.
    """
    line: list[str | Path] = ["qemu-system-riscv64", "-M", "virt", "-cpu", CPU, "-m", MEMORY]
    line += ["-display", "none", "-monitor", "none", "-nodefaults"]
    line += ["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]
    line += ["-bios", parts.firmware, "-kernel", parts.kernel, "-initrd", parts.initramfs]
    line += ["-append", append, "-global", "virtio-mmio.force-legacy=false"]
    line += ["-drive", f"file={disk},format=raw,id=vda,if=none"]
    line += ["-device", "virtio-blk-device,drive=vda,bus=virtio-mmio-bus.0"]
    for slot, name in enumerate(inputs, start=1):
        line += ["-device", f"virtio-{name}-device,bus=virtio-mmio-bus.{slot}"]
    return line if tree is None else [*line, "-dtb", tree]


def record(
    parts: Parts,
    output: Path,
    inputs: Sequence[str] = (),
    tree: Path | None = None,
    *,
    append: str = APPEND,
) -> None:
    """Boot, write to the disk, power off; leave disk.img and boot.log in a folder.

    Errors: GuestError; GuestTimeout.
    """
    disk = output / "disk.img"
    make_disk(disk)
    with running(command(parts, disk, inputs, tree, append=append), output) as guest:
        reach_shell(guest)
        (output / "boot.log").write_text(recorded(guest.text))
        write_files(guest)
        power_off(guest)


def main() -> int:
    """Record what the oracle does; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--dtb", type=Path)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    parts = Parts(arguments.folder.absolute() / "riscv64")
    record(parts, arguments.output.absolute(), ("keyboard", "mouse"), arguments.dtb)
    return 0


if __name__ == "__main__":
    sys.exit(main())
