"""The same guest on QEMU's board: the same boot log, and the same files on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.riscv.boot import INPUTS, Rig
from tests.support.riscv.boot_log import comparable, recorded
from tests.support.riscv.parts import Parts
from tests.support.riscv.qemu import record
from tests.support.riscv.writing import content, fsck, write_files
from virtmesh.cpu.tree import Boot, make_guest_blob
from virtmesh.machine import file as machine_file


@pytest.fixture(scope="module")
def oracle(riscv: Parts, rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Let QEMU boot with the device tree of our machine; returns the folder of what it left."""
    folder = tmp_path_factory.mktemp("oracle")
    machine = machine_file.load(rig.cli.run_dir / "machine.toml")
    assert machine.cpu is not None
    tree = folder / "tree.dtb"
    tree.write_bytes(make_guest_blob(machine, Boot(machine.cpu.append)))
    record(riscv, folder, INPUTS, tree, append=machine.cpu.append)
    return folder


def test_the_boot_log_is_that_of_qemu(rig: Rig, oracle: Path) -> None:
    """Line by line, apart from times, addresses and measured speeds.

    The kernel's threads print when they are scheduled: only firmware and /init have an order.
    """
    ours = comparable(recorded(rig.guest.text))
    theirs = comparable((oracle / "boot.log").read_text())

    assert sorted(ours) == sorted(theirs)
    assert in_order(ours) == in_order(theirs)


def in_order(lines: list[str]) -> list[str]:
    """Return the lines of the firmware, which come before the kernel's first one, and of /init."""
    kernel = next(place for place, line in enumerate(lines) if line.startswith("Linux version"))
    return lines[:kernel] + [line for line in lines if line.startswith("guest: ")]


def test_the_files_are_those_of_qemu(rig: Rig, oracle: Path) -> None:
    """The same commands of the guest leave the same file system, and both are clean."""
    write_files(rig.guest)

    assert content(rig.disk) == content(oracle / "disk.img")
    assert fsck(rig.disk)[0] == fsck(oracle / "disk.img")[0] == 0
