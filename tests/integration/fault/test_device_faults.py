"""Faults that devices of every kind can have, and what our kernel's driver does then."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import virtmesh_client
from tests.support.cli import eventually
from tests.support.killing import pid_of
from virtmesh_client.metrics_page import samples_of
from virtmesh_common.errors import BadValue, DeviceLost, VirtmeshError

if TYPE_CHECKING:
    from tests.support.cli import Cli

pytestmark = pytest.mark.processes

BLOCK = 4096


def test_a_killed_process_comes_back_without_the_fault(
    cli: Cli, machine: virtmesh_client.Machine
) -> None:
    """Requests that come meanwhile are served by the next process, which is not killed."""
    machine.disk("vda").write(0, b"\x11" * BLOCK)
    before = pid_of(cli, "vda")
    machine.faults("vda").add("kill")
    eventually(lambda: not Path(f"/proc/{before}").exists())
    assert machine.disk("vda").read(0, BLOCK) == b"\x11" * BLOCK
    assert pid_of(cli, "vda") != before
    assert machine.faults("vda").list() == ()
    assert "a fault takes hold of the process" in (cli.run_dir / "vda.log").read_text()


def test_a_stopped_process_answers_again_when_it_goes_on(
    cli: Cli, machine: virtmesh_client.Machine
) -> None:
    """Its state is that of SIGSTOP."""
    pid = pid_of(cli, "vda")
    machine.faults("vda").add("stop")
    stat = Path(f"/proc/{pid}/stat")
    eventually(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")
    os.kill(pid, signal.SIGCONT)
    machine.disk("vda").write(0, b"\x22" * BLOCK)
    assert machine.disk("vda").read(0, BLOCK) == b"\x22" * BLOCK


def test_faults_that_end_the_process_are_for_no_machine_file(cli: Cli) -> None:
    """They would end each process that is started."""
    (cli.folder / "machine.toml").write_text(
        '[[devices]]\nname = "vda"\nkind = "blk"\nfaults = ["kill"]\noptions.image = "disk.img"\n'
    )
    ran = cli("up", "-d", "machine.toml")
    assert ran.returncode != 0
    assert "kill would come again with each start of the service" in ran.stderr


def test_a_device_that_needs_a_reset_is_used_again(machine: virtmesh_client.Machine) -> None:
    """The kernel resets it; what was written stays."""
    machine.disk("vda").write(0, b"\x33" * BLOCK)
    faults = machine.faults("vda")
    faults.add("needs-reset")
    eventually(lambda: faults.list()[0].hits == 1)
    eventually(lambda: machine.devices()[0].state == "ready")
    assert machine.disk("vda").read(0, BLOCK) == b"\x33" * BLOCK


@pytest.mark.parametrize(
    "words",
    [
        "spurious-interrupt delay=1ms",
        "config-change delay=1ms",
        "double-interrupt delay=100us",
        "late-interrupt delay=exp:500us",
    ],
)
def test_our_driver_bears_it(machine: virtmesh_client.Machine, words: str) -> None:
    """Under load, and what is read is right."""
    disk, faults = machine.disk("vda"), machine.faults("vda")
    faults.add(words)
    for number in range(50):
        data = bytes([number]) * BLOCK
        disk.write(number * BLOCK, data)
        assert disk.read(number * BLOCK, BLOCK) == data
    eventually(lambda: faults.list()[0].hits >= 10)
    assert machine.devices()[0].state == "ready"


def lost(machine: virtmesh_client.Machine, name: str) -> float:
    """Return how many lost interrupts of a device the kernel has found."""
    found = (
        float(one["value"])
        for one in samples_of(machine.metrics())
        if one["name"] == "virtmesh_kernel_interrupts_lost_total"
        and one["labels"]["device"] == name
    )
    return next(found)


def test_requests_whose_interrupts_are_lost_are_completed(
    cli: Cli, machine: virtmesh_client.Machine
) -> None:
    """The driver looks by itself while it has requests. Its log says that once."""
    disk, faults = machine.disk("vda"), machine.faults("vda")
    faults.add("lost-interrupt")
    for number in range(3):
        data = bytes([number + 1]) * BLOCK
        disk.write(number * BLOCK, data)
        assert disk.read(number * BLOCK, BLOCK) == data
    assert faults.clear()[0].hits >= 6
    assert lost(machine, "vda") >= 6
    said = "used buffers without an interrupt"
    assert (cli.run_dir / "kernel.log").read_text().count(said) == 1
    assert disk.read(0, BLOCK) == b"\x01" * BLOCK
    assert machine.devices()[0].state == "ready"


def test_an_event_whose_interrupt_is_lost_reaches_who_reads(cli: Cli) -> None:
    """The device has buffers for events all the time."""
    cli.up("--no-serial", "--device", "input,name=keyboard,personality=keyboard")
    with (
        virtmesh_client.connect(cli.state.address) as machine,
        machine.input("keyboard") as keyboard,
        keyboard.watch(seconds=60) as watch,
    ):
        machine.faults("keyboard").add("lost-interrupt")
        keyboard.press("a")
        assert str(next(watch).event) == "KEY_A 1"
        eventually(lambda: lost(machine, "keyboard") >= 1)


def test_interrupts_that_come_are_not_counted_as_lost(machine: virtmesh_client.Machine) -> None:
    """Nor those that come late, under load, for longer than two looks take."""
    disk, faults = machine.disk("vda"), machine.faults("vda")
    faults.add("late-interrupt delay=1ms-20ms")
    with ThreadPoolExecutor(8) as pool:
        end = time.monotonic() + 3
        while time.monotonic() < end:
            list(pool.map(lambda number: disk.read(number * BLOCK, BLOCK), range(64)))
    assert faults.clear()[0].hits > 0
    assert lost(machine, "vda") == 0


def test_a_disk_that_lost_a_notification_is_mended_by_a_reset(
    machine: virtmesh_client.Machine,
) -> None:
    """With an event index nothing wakes the device again: whoever waits is told by the reset."""
    disk, faults = machine.disk("vda"), machine.faults("vda")
    disk.write(0, b"\x44" * BLOCK)
    faults.add("lost-notification limit=1")
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(disk.read, 0, BLOCK)
        eventually(lambda: faults.list()[0].hits == 1)
        assert machine.reset("vda") == "ready"
        with contextlib.suppress(DeviceLost):  # A notification can be lost that was not needed.
            assert read.result(timeout=30) == b"\x44" * BLOCK
    assert disk.read(0, BLOCK) == b"\x44" * BLOCK


@pytest.mark.parametrize("words", ["wrong-id limit=1", "wrong-length bytes=99999 limit=1"])
def test_our_driver_finds_lies_about_chains_and_begins_anew(
    machine: virtmesh_client.Machine, words: str
) -> None:
    """It trusts the device no more, and brings it up again."""
    disk, faults = machine.disk("vda"), machine.faults("vda")
    disk.write(0, b"\x55" * BLOCK)
    faults.add(words)
    with pytest.raises(VirtmeshError):
        disk.read(0, BLOCK, retry_for=0)
    assert faults.clear()[0].hits == 1
    eventually(lambda: machine.devices()[0].state == "ready")
    assert disk.read(0, BLOCK) == b"\x55" * BLOCK


def test_what_a_kind_can_not_have_is_refused(machine: virtmesh_client.Machine) -> None:
    """With the faults that it can have."""
    with pytest.raises(BadValue, match="vda can't have the fault noise: it can have config"):
        machine.faults("vda").add("noise probability=0.5")
