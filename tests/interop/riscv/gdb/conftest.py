"""A small kernel in C, with debug information, on a machine that waits for its debugger."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import virtmesh_client
from tests.support.cli import Cli, own_folder
from tests.support.riscv.small_kernels import COMPILER, FLAGS, LINK
from virtmesh_client.cpu.control import Cpu

SOURCES = Path(__file__).parent / "kernel"
DEBUG = ("-g", "-O1", "-ffreestanding", "-Wall", "-Wextra", "-Werror")


@dataclass(frozen=True)
class Target:
    """A machine that a debugger can attach to."""

    cli: Cli
    kernel: Path
    attach: str
    """What `virtmesh boot` says: the command that attaches gdb."""
    port: int
    cpu: Cpu

    @property
    def remote(self) -> str:
        """Command of gdb that attaches."""
        return f"target remote 127.0.0.1:{self.port}"


@pytest.fixture(scope="session")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the kernel with Debian's cross compiler."""
    folder = tmp_path_factory.mktemp("kernel")
    for name in ("start.S", "kernel.c"):
        (folder / name).write_bytes((SOURCES / name).read_bytes())
    command = [COMPILER, *FLAGS, *DEBUG, *LINK, "-o", "kernel.elf", "start.S", "kernel.c"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "kernel.elf"


@pytest.fixture(scope="package")
def machine(kernel: Path) -> Iterator[Target]:
    """Boot it once, and stop it before its first instruction."""
    with own_folder() as cli:
        result = cli("boot", "--detach", "--halted", "--gdb", 0, kernel)
        assert result.returncode == 0, result.stderr
        attach = result.stdout.rpartition("to debug: ")[2].strip()
        port = int(attach.partition("127.0.0.1:")[2].partition("'")[0])
        with virtmesh_client.connect(cli.state.address) as connection:
            yield Target(cli, kernel, attach, port, connection.cpu())


@pytest.fixture
def target(machine: Target) -> Target:
    """Boot the kernel anew, and leave it before its first instruction."""
    machine.cpu.stop()
    machine.cpu.reset()
    return machine
