"""Faults on demand of disks, and what a real Linux reports of them: one boot for all of them."""

from __future__ import annotations

import os
import re
import signal
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.cli import Cli, eventually
from tests.support.guest import Guest
from virtmesh_client import Machine, connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.guest import Boot

SIZE = 16 << 20
READ = "dd if=/dev/{} of=/dev/null bs=4096 count=1 skip={} iflag=direct 2>&1 || true"
FRESH = "echo 3 > /proc/sys/vm/drop_caches; "
FILL = "tr '\\0' {} < /dev/zero | dd of=/dev/{} bs=4096 count=1 seek=512 conv=fsync 2>&1"
DONE = "1+0 records out"
SPOILED = ("lengths", "ids")
"""Disks that are of no use to Linux after a test."""


@dataclass(frozen=True)
class Rig:
    """A guest, and the machine whose disks it has."""

    guest: Guest
    machine: Machine
    cli: Cli

    def read(self, disk: str, block: int) -> str:
        """Read a block past the cache; returns what dd said."""
        return self.guest.run(READ.format(disk, block))

    def said(self) -> str:
        """Return what the guest's kernel has said of its disks."""
        return self.guest.run("dmesg | grep -E 'vd[a-d]|virtio.*(id|vq|queue)|I/O' || true")

    def news(self, disk: str) -> str:
        """Return what the machine says of a disk at this moment."""
        return next(one.detail for one in self.machine.devices() if one.name == disk)

    def held(self, disk: str) -> bool:
        """Say whether a disk holds a request that failed.

        A page of metrics would not do: whoever asks again and again gets an older one.
        """
        return self.news(disk).startswith("holds ")

    @contextmanager
    def waiting(self, disk: str, block: int) -> Iterator[None]:
        """Have the guest begin to read a block; at the end of the body it must succeed."""
        self.guest.begin(READ.format(disk, block))
        try:
            yield
        except BaseException:
            self.machine.faults(disk).clear()
            self.guest.finish()
            raise
        assert DONE in self.guest.finish()


@pytest.fixture(scope="module")
def rig(shared: Cli, boot: dict[str, Boot]) -> Iterator[Rig]:
    """Boot a guest on four disks, and connect to its machine."""
    names = ("plain", "held", *SPOILED)
    extra = {"held": ",on-error=stop"}
    disks = [f"{name}.img,size={SIZE}{extra.get(name, '')}" for name in names]
    shared.up("--vhost-user", *(part for disk in disks for part in ("--disk", disk)))
    try:
        with (
            boot["uml"](shared, "--root", "none") as guest,
            connect(shared.state.address) as machine,
        ):
            guest.run("dmesg -n 1")  # Not amid what programs say.
            yield Rig(guest, machine, shared)
    finally:
        shared("down")


def test_linux_reports_the_sectors_that_fail_and_reads_them_afterwards(rig: Rig) -> None:
    """By number, in its log; its program gets EIO."""
    faults = rig.machine.faults("vda")
    faults.add("io-error type=read sectors=2048-2055")
    assert "Input/output error" in rig.read("vda", 256)
    assert "I/O error, dev vda, sector 2048 op 0x0:(READ)" in rig.said()
    assert DONE in rig.read("vda", 255)
    assert faults.clear()[0].hits >= 1
    assert DONE in rig.read("vda", 256)


@pytest.mark.parametrize(
    "words",
    [
        "delay delay=exp:2ms probability=0.5",
        "late-interrupt delay=1ms-5ms probability=0.2",
        "double-interrupt delay=100us",
        "spurious-interrupt delay=1ms",
        "config-change delay=2ms",
        "wrong-length bytes=70000",
    ],
)
def test_linux_bears_it_and_says_nothing(rig: Rig, words: str) -> None:
    """Under load; what it reads is right."""
    before = rig.said()
    faults = rig.machine.faults("vda")
    faults.add(words)
    read = rig.guest.run(f"{FRESH}dd if=/dev/vda of=/dev/null bs=64k count=64 2>&1")
    assert "64+0 records out" in read
    eventually(lambda: faults.list()[0].hits)
    faults.clear()
    assert rig.said() == before


@pytest.mark.parametrize("words", ["hang type=read limit=1", "stuck-queue queue=0"])
def test_linux_waits_until_the_fault_is_taken_back(rig: Rig, words: str) -> None:
    """Its program sees no error, its log has nothing new."""
    before = rig.said()
    faults = rig.machine.faults("vda")
    faults.add(words)
    with rig.waiting("vda", 300):
        eventually(lambda: faults.list()[0].hits)
        faults.clear()
    assert rig.said() == before


def test_linux_waits_for_an_interrupt_that_is_lost_until_another_one_comes(rig: Rig) -> None:
    """A spurious one is enough: then it looks at the ring."""
    faults = rig.machine.faults("vda")
    faults.add("lost-interrupt limit=1")
    with rig.waiting("vda", 301):
        eventually(lambda: faults.list()[0].hits)
        faults.add("spurious-interrupt delay=10ms")
    faults.clear()


def test_linux_waits_where_its_notification_is_lost_until_the_device_looks(rig: Rig) -> None:
    """A queue that was stuck is looked at when that ends."""
    faults = rig.machine.faults("vda")
    faults.add("lost-notification limit=1")
    with rig.waiting("vda", 302):
        eventually(lambda: faults.list()[0].hits)
        faults.clear()
        faults.add("stuck-queue queue=0 after=1000000")
        faults.clear()


def test_a_torn_write_is_on_the_disk_and_linux_is_not_told(rig: Rig) -> None:
    """What it reads back, past its cache, is half new."""
    assert DONE in rig.guest.run(FILL.format("a", "vda"))
    rig.machine.faults("vda").add("torn-write bytes=1024 sectors=4096-4103 limit=1")
    assert DONE in rig.guest.run(FILL.format("b", "vda"))
    assert rig.machine.faults("vda").clear()[0].hits == 1
    count = f"{FRESH}dd if=/dev/vda bs=4096 count=1 skip=512 2>/dev/null | tr -d a | wc -c"
    assert rig.guest.run(count).strip() == "1024"


def test_a_corrupt_write_is_on_the_disk_and_linux_is_not_told(rig: Rig) -> None:
    """Three bytes of what it reads back are others."""
    rig.machine.faults("vda").add("corrupt-write bytes=3 seed=11 sectors=4096-4103 limit=1")
    assert DONE in rig.guest.run(FILL.format("c", "vda"))
    assert rig.machine.faults("vda").clear()[0].hits == 1
    count = f"{FRESH}dd if=/dev/vda bs=4096 count=1 skip=512 2>/dev/null | tr -d c | wc -c"
    assert rig.guest.run(count).strip() == "3"


def test_linux_uses_a_device_that_asks_for_a_reset_as_before(rig: Rig) -> None:
    """Its driver of disks does not look at the bit."""
    before = rig.said()
    faults = rig.machine.faults("vda")
    faults.add("needs-reset")
    eventually(lambda: faults.list()[0].hits)
    faults.clear()
    assert DONE in rig.read("vda", 303)
    assert rig.said() == before


def test_linux_waits_for_a_service_that_is_stopped(rig: Rig) -> None:
    """It goes on where it was."""
    pid = rig.cli.process("vda").pid
    stat = Path(f"/proc/{pid}/stat")
    rig.machine.faults("vda").add("stop")
    eventually(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")
    with rig.waiting("vda", 304):
        os.kill(pid, signal.SIGCONT)


def test_a_disk_that_stops_holds_what_its_storage_fails_and_linux_waits(rig: Rig) -> None:
    """It goes on when the storage is back and somebody resumes: no error, nothing in the log."""
    before = rig.said()
    image = rig.cli.folder / "held.img"
    os.truncate(image, 1 << 20)
    with rig.waiting("vdb", 1024):
        eventually(lambda: rig.held("vdb"))
        os.truncate(image, SIZE)
        rig.cli("blk", "resume", "vdb")
    assert rig.said() == before


def test_a_disk_that_stops_holds_errors_on_demand_too(rig: Rig) -> None:
    """Until the fault is taken back; given up, Linux reports it as any error."""
    before = rig.said()
    faults, disk = rig.machine.faults("vdb"), rig.machine.disk("vdb")
    faults.add("io-error type=read sectors=8192-8199")
    with rig.waiting("vdb", 1024):
        eventually(lambda: rig.held("vdb"))
        assert "INJECTED" in rig.news("vdb")
        faults.clear()
    assert rig.said() == before

    faults.add("io-error type=read sectors=8192-8199")
    rig.guest.begin(READ.format("vdb", 1024))
    eventually(lambda: rig.held("vdb"))
    eventually(lambda: disk.resume(give_up=True) == 1)
    assert "Input/output error" in rig.guest.finish()
    assert "I/O error, dev vdb, sector 8192 op 0x0:(READ)" in rig.said()
    faults.clear()


def test_a_disk_that_reports_has_linux_report_what_its_storage_fails(rig: Rig) -> None:
    """The same storage, without on-error."""
    image = rig.cli.folder / "plain.img"
    os.truncate(image, 1 << 20)
    assert "Input/output error" in rig.read("vda", 1025)
    assert "I/O error, dev vda, sector 8200 op 0x0:(READ)" in rig.said()
    os.truncate(image, SIZE)
    assert DONE in rig.read("vda", 1025)


def test_linux_trusts_a_queue_with_a_wrong_identifier_no_more(rig: Rig) -> None:
    """It says so, and takes nothing more from it: a reboot mends that."""
    faults = rig.machine.faults("vdd")
    faults.add("wrong-id limit=1")
    # It waits for ever: in the background.
    rig.guest.run("{ dd if=/dev/vdd of=/dev/null bs=4096 count=1 iflag=direct >/dev/null 2>&1 & }")
    eventually(lambda: faults.list()[0].hits)
    said = rig.said()
    assert re.search(r"id \d+ (is not a head|out of range)!", said)
