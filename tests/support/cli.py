"""The command `virtmesh` for tests: machines of real processes, each in a folder of its own.

with own_folder() as virtmesh:
    virtmesh.up("--disk", "disk.img,size=16M")
    assert virtmesh("blk", "info", "vda", "--json").returncode == 0
"""

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

from virtmesh_client.local import rundir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS = 30.0
"""Limit for every wait."""


def eventually(condition: Callable[[], object]) -> None:
    """Check a condition until it is true. Each check calls a service or reads a file."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the condition was not true within {SECONDS:g} s")


@dataclass
class Cli:
    """The command `virtmesh` with its own run folder."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    python: str = sys.executable
    """The interpreter of the environment whose `virtmesh` it is."""
    wrapper: tuple[str, ...] = ()
    """What runs the command, before its own words."""

    @property
    def run_dir(self) -> Path:
        """Run folder of the machine."""
        return self.folder / "run"

    @contextlib.contextmanager
    def spawn(
        self, *arguments: object, stdin: int = subprocess.DEVNULL
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Start a command with its output in pipes. It is killed after the body."""
        process = subprocess.Popen(
            # -P: like the installed command, it imports nothing from the folder that it works in.
            [*self.wrapper, self.python, "-P", "-m", "virtmesh_client", *map(str, arguments)],
            cwd=self.folder,
            env={**os.environ, "VIRTMESH_RUN_DIR": str(self.run_dir), **self.environment},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()

    def __call__(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        with self.spawn(*arguments) as process:
            out, err = process.communicate(timeout=SECONDS)
            return subprocess.CompletedProcess(
                process.args, process.returncode, out.decode(), err.decode()
            )

    @property
    def state(self) -> rundir.MachineState:
        """The state of the running machine. Errors: LookupError if there is none."""
        state = rundir.load(self.run_dir)
        if state is None:
            raise LookupError(f"no machine runs in {self.run_dir}")
        return state

    def process(self, name: str) -> rundir.ProcessState:
        """Return the present state of a process of the machine."""
        return next(one for one in self.state.processes if one.name == name)

    def up(self, *arguments: object) -> None:
        """Start a machine in the background. Errors: RuntimeError with its standard error."""
        result = self("up", "--detach", *arguments)
        if result.returncode:
            raise RuntimeError(result.stderr)


@contextlib.contextmanager
def own_folder() -> Iterator[Cli]:
    """Make a folder with a path short enough for sockets. Stop its machine at the end."""
    folder = Path(tempfile.mkdtemp(prefix="vm-"))
    cli = Cli(folder)
    try:
        yield cli
    finally:
        if rundir.load(cli.run_dir):
            cli("down")
        shutil.rmtree(folder, ignore_errors=True)
