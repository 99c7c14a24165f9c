"""Code that runs inside a keyboard's service reaches nothing but that keyboard.

The test puts the code there by PYTHONPATH: whoever starts a service is trusted with that.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import virtmesh
import virtmesh_client
from tests.support import ROOT
from tests.support.cli import Cli, eventually, own_folder
from tests.support.intruder.attempts import KILLED, REFUSED

if TYPE_CHECKING:
    from collections.abc import Iterable

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]

INTRUDER = ROOT / "tests" / "support" / "intruder"
LACKS = "the sandbox is not whole"
SAID = "INTRUDER {"


@dataclass
class Victims:
    """A machine with a disk and a keyboard, and the folder that intruders read their goals from."""

    cli: Cli
    goals: dict[str, Any] = field(default_factory=dict)

    @property
    def intruder(self) -> Path:
        """The folder that goes to PYTHONPATH."""
        return self.cli.folder / "intruder"

    def aim(self, attempts: Iterable[str], own: Path) -> None:
        """Say what is to be tried, by a service whose socket is `own`."""
        goals = self.goals | {"attempts": list(attempts), "own": str(own)}
        (self.intruder / "goals.json").write_text(json.dumps(goals))


@pytest.fixture(scope="module")
def victims() -> Iterator[Victims]:
    """Start the machine, with an intruder that waits in each of its services."""
    with own_folder() as cli, socket.create_server(("127.0.0.1", 0)) as listener:
        intruder = cli.folder / "intruder"
        shutil.copytree(INTRUDER, intruder)
        cli.environment["PYTHONPATH"] = str(intruder)
        cli.up("--no-serial", "--disk", "disk.img,size=4M", "--input", "keyboard")
        run, image = cli.run_dir, cli.folder / "disk.img"
        yield Victims(
            cli,
            {
                "run": str(run),
                "image": str(image),
                "image_size": image.stat().st_size,
                "kernel": str(run / "kernel.sock"),
                "disk": str(run / "vda.sock"),
                "log": str(run / "vda.log"),
                "home": str(Path.home()),
                "code": virtmesh.__file__,
                "packages": str(Path(pytest.__file__).parent.parent),
                "sibling": cli.process("vda").pid,
                "port": listener.getsockname()[1],
            },
        )


@pytest.fixture(autouse=True)
def _whole(victims: Victims) -> None:
    """Skip where the kernel or the container lacks a part, which the service says itself."""
    log = (victims.cli.run_dir / "keyboard.log").read_text()
    lines = [line for line in log.splitlines() if LACKS in line]
    if lines:
        pytest.skip(lines[0])


@contextmanager
def keyboard(victims: Victims, **environment: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Start another keyboard in the run folder, and wait until it serves."""
    path = victims.cli.run_dir / "other.sock"
    path.unlink(missing_ok=True)
    process = subprocess.Popen(
        [
            *(sys.executable, "-P", "-m", "virtmesh.host.main", "input", "--name=other"),
            *("--personality=keyboard", f"--listen=unix:{path}"),
        ],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(victims.intruder), **environment},
    )
    with process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if "serving" in line:
                    break
            yield process, path
        finally:
            process.kill()


def said_in(lines: Iterable[str]) -> dict[str, str]:
    """Return what an intruder says came of its attempts; empty if it was killed before."""
    for line in lines:
        if line.startswith(SAID) and line.rstrip().endswith("}"):  # it is whole
            said: dict[str, str] = json.loads(line.partition(" ")[2])
            return said
    return {}


def test_an_intruder_in_the_keyboard_of_a_machine_is_refused_everything(victims: Victims) -> None:
    """And the machine goes on: the keyboard types, and the disk has not been touched."""
    cli = victims.cli
    before = cli.process("keyboard")
    victims.aim(REFUSED, cli.run_dir / "keyboard.sock")

    os.kill(before.pid, signal.SIGUSR1)
    log = cli.run_dir / "keyboard.log"
    eventually(lambda: said_in(log.read_text().splitlines()))

    said = said_in(log.read_text().splitlines())
    assert {name: what for name, what in said.items() if not what.startswith("refused")} == {}
    assert set(said) == set(REFUSED)
    with virtmesh_client.connect(cli.state.address) as machine:
        machine.input("keyboard").type("a", wait="delivered")
    assert cli.process("keyboard") == before


def test_without_the_sandbox_the_intruder_gets_all_of_it(victims: Victims) -> None:
    """So it is the sandbox that refuses, and each attempt is one that works."""
    if os.geteuid() != 0:
        pytest.skip("a user without privileges is refused some of it by the system itself")
    with keyboard(victims, VIRTMESH_SANDBOX="off") as (process, path):
        victims.aim(REFUSED, path)
        process.send_signal(signal.SIGUSR1)
        said = said_in(process.stderr or ())

    assert said == dict.fromkeys(REFUSED, "done")


@pytest.mark.parametrize("attempt", KILLED)
def test_what_no_service_does_is_the_end_of_it(victims: Victims, attempt: str) -> None:
    """The kernel kills the process before the call is made."""
    with keyboard(victims) as (process, path):
        victims.aim([attempt], path)
        process.send_signal(signal.SIGUSR1)
        said = said_in(process.stderr or ())
        status = process.wait(30)

    assert (said, status) == ({}, -signal.SIGSYS)


def test_every_thread_of_every_service_is_confined(victims: Victims) -> None:
    """Those of gRPC and of native code too, in the kernel service as well."""
    for name in ("vda", "keyboard", "kernel"):
        pid = victims.cli.process(name).pid
        for thread in Path(f"/proc/{pid}/task").iterdir():
            try:
                status = (thread / "status").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue  # It has ended meanwhile.
            facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
            assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2"), facts["Name"]
