"""Faults on demand of a disk, and what a real Linux reports of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from virtmesh_client import connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.cli import Cli
    from tests.support.guest import Boot, Guest
    from virtmesh_client import Machine

READ = "dd if=/dev/vda of=/dev/null bs=4096 count=1 skip={} 2>&1 || true"
FRESH = "echo 3 > /proc/sys/vm/drop_caches; "


@pytest.fixture(scope="module")
def rig(shared: Cli, boot: dict[str, Boot]) -> Iterator[tuple[Guest, Machine]]:
    """Boot a guest on a disk, and connect to its machine."""
    shared.up("--vhost-user", "--disk", "faults.img,size=16M")
    try:
        with (
            boot["uml"](shared, "--root", "none") as guest,
            connect(shared.state.address) as machine,
        ):
            yield guest, machine
    finally:
        shared("down")


def test_linux_reports_the_sectors_that_fail_and_reads_them_afterwards(
    rig: tuple[Guest, Machine],
) -> None:
    """By number, in its log; its program gets EIO."""
    guest, machine = rig
    faults = machine.faults("vda")
    faults.add("io-error type=read sectors=2048-2055")
    assert "Input/output error" in guest.run(READ.format(256))
    assert "I/O error, dev vda, sector 2048 op 0x0:(READ)" in guest.run("dmesg")
    assert "1+0 records out" in guest.run(READ.format(255))
    assert faults.clear()[0].hits >= 1
    assert "1+0 records out" in guest.run(READ.format(256))


def test_linux_waits_for_what_hangs_and_bears_delays_and_spurious_interrupts(
    rig: tuple[Guest, Machine],
) -> None:
    """Nothing fails: its log has nothing new of the disk."""
    guest, machine = rig
    before = guest.run("dmesg | grep -c vda || true")
    faults = machine.faults("vda")
    faults.add("delay delay=exp:2ms probability=0.5")
    faults.add("spurious-interrupt delay=1ms")
    faults.add("late-interrupt delay=1ms-5ms probability=0.2")
    read = guest.run(f"{FRESH}dd if=/dev/vda of=/dev/null bs=64k count=64 2>&1")
    assert "64+0 records out" in read
    assert all(fault.hits for fault in faults.clear())
    assert guest.run("dmesg | grep -c vda || true") == before


def test_a_torn_write_is_on_the_disk_and_linux_is_not_told(
    rig: tuple[Guest, Machine],
) -> None:
    """What it reads back, past its cache, is half new."""
    guest, machine = rig
    fill = "tr '\\0' {} < /dev/zero | dd of=/dev/vda bs=4096 count=1 seek=512 conv=fsync 2>&1"
    assert "1+0 records out" in guest.run(fill.format("a"))
    machine.faults("vda").add("torn-write bytes=1024 sectors=4096-4103 limit=1")
    assert "1+0 records out" in guest.run(fill.format("b"))
    assert machine.faults("vda").clear()[0].hits == 1
    count = f"{FRESH}dd if=/dev/vda bs=4096 count=1 skip=512 2>/dev/null | tr -d a | wc -c"
    assert guest.run(count).strip() == "1024"
