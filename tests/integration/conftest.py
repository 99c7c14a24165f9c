"""Machines of real processes, started by the `virtmesh` that people type."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import virtmesh_client
from virtmesh_client import rundir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS = 30.0
"""Limit for whatever a test waits for."""


def eventually(condition: Callable[[], object]) -> None:
    """Ask until it is so; each question is a call to a service or a look at a file."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail("it did not happen in time")


@dataclass
class Cli:
    """The command `virtmesh`, with a run folder of its own."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def run_dir(self) -> Path:
        """Run folder of the machine."""
        return self.folder / "run"

    def spawn(self, *arguments: object, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """Start a command line; its output is in pipes."""
        return subprocess.Popen(
            [sys.executable, "-m", "virtmesh_client", *map(str, arguments)],
            cwd=self.folder,
            env={**os.environ, "VIRTMESH_RUN_DIR": str(self.run_dir), **self.environment},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def __call__(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run a command line to its end."""
        with self.spawn(*arguments) as process:
            out, err = process.communicate(timeout=SECONDS)
            return subprocess.CompletedProcess(
                process.args, process.returncode, out.decode(), err.decode()
            )

    @property
    def state(self) -> rundir.State:
        """The state of the machine that runs."""
        state = rundir.load(self.run_dir)
        if state is None:
            pytest.fail("no machine runs")
        return state

    def process(self, name: str) -> rundir.ProcessState:
        """One process of the machine, as it is now."""
        return next(one for one in self.state.processes if one.name == name)

    def up(self, *arguments: object) -> None:
        """Start a machine in the background."""
        result = self("up", "--detach", *arguments)
        assert result.returncode == 0, result.stderr


@pytest.fixture
def cli() -> Iterator[Cli]:
    """Make a folder, short enough for sockets; stop what still runs in it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="vm-"))
    cli = Cli(folder)
    try:
        yield cli
    finally:
        if rundir.load(cli.run_dir):
            cli("down")
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)


@pytest.fixture
def machine(cli: Cli) -> Iterator[virtmesh_client.Machine]:
    """Start a machine with the disk vda of 16 MiB, and connect to it."""
    cli.up("--disk", "disk.img,size=16M")
    with virtmesh_client.connect(cli.state.address) as machine:
        yield machine
