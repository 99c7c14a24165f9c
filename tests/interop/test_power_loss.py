"""What a power loss leaves of a file system that a real Linux has on a disk."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import ext4_checker
from virtmesh_client import connect
from virtmesh_client.powerloss import PowerLossOptions, check_power_loss, read_log
from virtmesh_common.printable import say

if TYPE_CHECKING:
    from tests.support.cli import Cli
    from tests.support.guest import Boot
    from virtmesh_client.powerloss import PowerLossReport

MIB = 1 << 20
FILE_SYSTEM = 24 * MIB
DISK = 25 * MIB
MARK_SECTOR = FILE_SYSTEM // 512 + 8
"""Behind the file system: the guest puts its marks there."""
FILES = 12
WORKLOAD = f"""
i=1
while [ $i -le {FILES} ]; do
  yes "line $i" | head -c $((i * 3000)) > /mnt/f$i && sync -d /mnt/f$i || exit 1
  sync /mnt/f$i; echo $i > /mnt/g.new; sync /mnt/g.new; mv /mnt/g.new /mnt/g
  mkdir /mnt/d$i; echo x > /mnt/d$i/x; rm -f /mnt/d$((i - 2))/x
  sync /mnt/f$i; sync /mnt; sync /mnt/g
  printf 'synced %s' $i | dd of=/dev/vda bs=512 seek={MARK_SECTOR} conv=sync,notrunc oflag=direct \
    2> /dev/null || exit 1
  i=$((i + 1))
done
"""
"""Each round writes a file and replaces another, syncs both and their folder, and then says so."""
CHECKER = (sys.executable, str(Path(ext4_checker.__file__)), "{}")
BLOCK = 1024
"""Of the file system. Its superblock is one, with a checksum, written without the journal."""
OPTIONS = PowerLossOptions(seed=16, mark_sector=MARK_SECTOR, samples=24, limit=150, tear=BLOCK)


@dataclass(frozen=True)
class Recorded:
    """A log, the disk before it, and the files as they are to be."""

    log: Path
    base: Path
    files: Path

    def check(self, what: str, options: PowerLossOptions = OPTIONS) -> PowerLossReport:
        """Try what a power loss may leave, and print the figures."""
        report = check_power_loss(self.log, self.base, [*CHECKER, str(self.files)], options)
        say(
            f"\n{what}: {report.writes} writes, {report.flushes} flushes, {report.marks} marks,"
            f" {report.windows} crash points ({report.exhaustive_windows} whole);"
            f" {report.states} states tried, {report.distinct_states} distinct,"
            f" {report.violation_count} violations, seed {report.seed}, {report.seconds:.1f} s"
        )
        return report


def record(cli: Cli, boot: Boot, *, lie: bool) -> Recorded:
    """Have a guest write and sync on a disk that records; `lie`: that makes nothing durable."""
    folder = cli.folder
    disk, base, files = folder / "power.img", folder / "base.img", folder / "files"
    with disk.open("wb") as image:
        image.truncate(DISK)
    command = ["mkfs.ext4", "-q", "-F", "-b", str(BLOCK), str(disk), f"{FILE_SYSTEM // 1024}k"]
    subprocess.run(command, check=True, timeout=60)
    subprocess.run(["cp", "--sparse=always", disk, base], check=True, timeout=60)
    files.mkdir()
    for number in range(1, FILES + 1):
        line = f"line {number}\n".encode()
        content = line * (number * 3000 // len(line) + 1)
        (files / f"f{number}").write_bytes(content[: number * 3000])
    cli.up("--vhost-user", "--disk", "power.img,write-log=power.log")
    try:
        with boot(cli, "--root", "none") as guest, connect(cli.state.address) as machine:
            if lie:
                machine.faults("vda").add("lost-flush")
            guest.run("mount -t ext4 /dev/vda /mnt")
            for words in WORKLOAD.strip().splitlines():
                guest.console.sendline(words)
            guest.run("true")
            assert guest.run("ls /mnt/f* | wc -l").strip() == str(FILES)
            guest.run("umount /mnt")
    finally:
        cli("down")
    return Recorded(folder / "power.log", base, files)


@pytest.mark.parametrize("kind", ["uml", "qemu"])
def test_what_linux_has_synced_survives_each_power_loss(
    cli: Cli, boot: dict[str, Boot], kind: str
) -> None:
    """On a disk that does as it says: no file system is broken, and no synced file is lost."""
    recorded = record(cli, boot[kind], lie=False)
    log = read_log(recorded.log, mark_sector=MARK_SECTOR)
    assert [mark.text for mark in log.marks][-1] == f"synced {FILES}"

    report = recorded.check(f"ext4 under {kind}")

    assert report.violation_count == 0, report.violations[:3]
    assert report.marks == FILES
    assert report.flushes >= 2 * FILES
    assert report.distinct_states > 3 * FILES

    # Torn at 512 bytes, a superblock is half an old one, and its checksum is wrong: ext4 relies on
    # whole ones.
    by_sector = replace(OPTIONS, tear="sector", limit=100)
    report = recorded.check(f"ext4 under {kind}, torn at 512 bytes", by_sector)
    for violation in report.violations:
        assert any("sectors 2 to 3: torn" in one for one in violation.writes), violation


def test_a_disk_that_lies_about_flushes_is_caught(cli: Cli, boot: dict[str, Boot]) -> None:
    """Its flushes complete, and make nothing durable: Linux can't know, the check does."""
    recorded = record(cli, boot["uml"], lie=True)

    report = recorded.check(
        "ext4 on a disk that lies about flushes", replace(OPTIONS, samples=8, limit=100)
    )

    assert report.flushes == 0
    assert report.violation_count > 0
    outputs = "".join(one.output for one in report.violations)
    assert "was synced, and" in outputs
