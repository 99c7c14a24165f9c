"""Debian's riscv64 kernel on virtmesh's processor: its own drivers, register by register."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import Cli
from tests.support.riscv.boot import Rig, at_shell
from tests.support.riscv.parts import Parts


@pytest.fixture(scope="session")
def riscv(parts: Path) -> Parts:
    """Return the kernel, the firmware and the initramfs."""
    return Parts(parts / "riscv64")


@pytest.fixture(scope="package")
def rig(riscv: Parts) -> Iterator[Rig]:
    """Boot once for the tests that leave the guest as it was. A debugger may attach."""
    with at_shell(riscv, "--gdb=0", append="nokaslr") as rig:
        yield rig


@pytest.fixture
def machine(cli: Cli) -> Cli:
    """Return a `virtmesh` with a run folder of its own, for a boot of the test's own."""
    return cli
