"""U-Boot on virtmesh's processor: its own driver reads our disk, and boots Linux from it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from zlib import crc32

import pytest

from tests.support.cli import Cli
from tests.support.guest import PROMPT, Guest
from tests.support.riscv.boot import boot_command, environment
from tests.support.riscv.console import BOOT_SECONDS, running
from tests.support.riscv.parts import Parts
from tests.support.riscv.report import read_report
from tests.support.riscv.writing import HELLO, make_disk

U_BOOT = r"(?m)^=> "
"""U-Boot's prompt. What it prints has "==> " in it."""
DISK_MEBIBYTES = 64
FINDINGS = {"init-reset": 1, "status-order": 1, "vendor-id": 1}
"""Rules that U-Boot breaks with a lenient disk, and how often."""
STATUS, ACKNOWLEDGE, DRIVER = 0x70, 1, 2
WRITE_OF_4 = 0x44
"""Detail of the event of a write of four bytes."""


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
        report, _ = read_report(cli)
        wrote = status_writes(cli)

    assert "Capacity: 32.0 MB" in found
    assert re.search(rf"^ +{len(HELLO)} +hello.txt\r$", listed, re.MULTILINE)
    assert f"==> {crc32(HELLO.encode()):08x}" in checksum
    # docs/report.md tells what they are.
    assert {rule: row["count"] for rule, row in report["vda"].items()} == FINDINGS
    assert report["serial"] == report["board"] == {}
    assert report["vda"]["init-reset"]["pc"] == wrote[ACKNOWLEDGE]
    assert report["vda"]["status-order"]["pc"] == wrote[DRIVER]


def status_writes(cli: Cli) -> dict[int, int]:
    """Return where U-Boot's code first wrote each value to the disk's Status, by the trace."""
    lines = cli("trace", "-d", "vda", "--kinds", "cpu_access", "--json").stdout.splitlines()
    found: dict[int, int] = {}
    for row in map(json.loads, lines):
        if row["token"] == STATUS and row["detail"] == WRITE_OF_4:
            found.setdefault(row["value"], row["pc"])
    return found


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
