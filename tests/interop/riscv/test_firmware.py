"""U-Boot on virtmesh's processor: its own driver reads our disk, and boots Linux from it."""

from __future__ import annotations

import re
from pathlib import Path
from zlib import crc32

import pytest

from tests.support.cli import Cli
from tests.support.guest import PROMPT, Guest
from tests.support.riscv.boot import boot_command, environment
from tests.support.riscv.console import BOOT_SECONDS, running
from tests.support.riscv.parts import Parts
from tests.support.riscv.writing import HELLO, make_disk

U_BOOT = r"(?m)^=> "
"""U-Boot's prompt. What it prints has "==> " in it."""
DISK_MEBIBYTES = 64


def reach_prompt(guest: Guest) -> None:
    """Stop U-Boot before it boots by itself."""
    guest.expect("Hit any key to stop autoboot", BOOT_SECONDS)
    guest.console.send(" ")
    guest.expect(U_BOOT)


def ask(guest: Guest, command: str) -> str:
    """Run a command of U-Boot; returns its output."""
    guest.console.send(f"{command}\r")
    guest.expect(r"\n")
    return guest.expect(U_BOOT, BOOT_SECONDS)


def commands(parts: Parts) -> dict[str, list[str | Path]]:
    """Return the command line for U-Boot in M-mode, alone, and in S-mode behind OpenSBI.

    U-Boot writes DRIVER to Status before ACKNOWLEDGE, so its disk is a lenient one.
    """
    disk = ("--disk=disk.img", "--quirk=vda=lenient")
    return {
        "M-mode": boot_command(parts.u_boot, *disk),
        "S-mode": boot_command(parts.u_boot_smode, "--firmware", parts.firmware, *disk),
    }


@pytest.mark.parametrize("mode", ["M-mode", "S-mode"])
def test_u_boot_reads_a_file_of_our_disk(mode: str, riscv: Parts, cli: Cli) -> None:
    """It finds the disk, lists its ext4, and computes the checksum of a file that is ours."""
    make_disk(cli.folder / "disk.img")

    with running(commands(riscv)[mode], cli.folder, environment(cli)) as guest:
        reach_prompt(guest)
        found = ask(guest, "virtio info")
        listed = ask(guest, "ls virtio 0")
        ask(guest, "load virtio 0 ${kernel_addr_r} /hello.txt")
        checksum = ask(guest, "crc32 ${kernel_addr_r} ${filesize}")

    assert "Capacity: 32.0 MB" in found
    assert re.search(rf"^ +{len(HELLO)} +hello.txt\r$", listed, re.MULTILINE)
    assert f"==> {crc32(HELLO.encode()):08x}" in checksum


def test_u_boot_loads_linux_from_our_disk_and_boots_it(riscv: Parts, cli: Cli) -> None:
    """Kernel and initramfs come through U-Boot's driver; the kernel's takes the disk over."""
    disk = cli.folder / "disk.img"
    make_disk(disk, DISK_MEBIBYTES, riscv.kernel, riscv.initramfs)

    with running(commands(riscv)["S-mode"], cli.folder, environment(cli)) as guest:
        reach_prompt(guest)
        ask(guest, "virtio scan")
        ask(guest, f"load virtio 0 ${{kernel_addr_r}} /{riscv.kernel.name}")
        ask(guest, f"load virtio 0 ${{ramdisk_addr_r}} /{riscv.initramfs.name}")
        ask(guest, "setenv bootargs console=ttyS0")
        guest.console.send(
            "booti ${kernel_addr_r} ${ramdisk_addr_r}:${filesize} ${fdtcontroladdr}\r"
        )
        guest.expect("guest: /dev/vda is mounted on /mnt", BOOT_SECONDS)
        guest.expect(re.escape(PROMPT), BOOT_SECONDS)
        hello = guest.run("cat /mnt/hello.txt")
        status = guest.end()

    assert hello == HELLO
    assert status == 0
