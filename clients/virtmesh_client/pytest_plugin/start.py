"""The machine of a test: started in a folder of its own, or one that runs already."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from virtmesh_client.local import rundir
from virtmesh_client.local.stop import stop_machine
from virtmesh_client.machine import Machine, connect
from virtmesh_client.pytest_plugin.observer import Observer
from virtmesh_common.errors import VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh_client.pytest_plugin.options import Wish

READY_SECONDS = 60
"""How long a machine may take to start."""
SLACK_SECONDS = 30.0
"""How much longer the command may take."""
CALL_SECONDS = 30.0
"""Limit of a call with a single response."""
FOLDER_MAX = 50
"""Longest path of a folder, in bytes: paths of sockets end at 107, and theirs are in it."""


@contextlib.contextmanager
def open_machine(wish: Wish, workers: int) -> Iterator[tuple[Machine, Observer]]:
    """Start or find the machine, connect, and watch it. It fails the test where that fails."""
    with contextlib.ExitStack() as stack:
        if wish.machine:
            folder, address = stack.enter_context(started(wish.machine))
        elif wish.address:
            refuse_sharing(wish.address, workers)
            folder, address = None, wish.address
        else:
            pytest.fail(
                "no machine for this test: give --virtmesh-machine FILE or --virtmesh-address ADDR,"
                " or virtmesh_machine or virtmesh_address in the configuration file",
                pytrace=False,
            )
        try:
            machine = stack.enter_context(connect(address, timeout=CALL_SECONDS))
            from_start = folder is not None
            observer = stack.enter_context(Observer(machine, folder, from_start=from_start))
        except (VirtmeshError, ValueError) as error:
            raise failure(f"can't use the machine at {address}: {error}") from None
        yield machine, observer


def failure(message: str) -> BaseException:
    """Return what fails a test in one line: `pytest.fail` shows the cause, with its traceback."""
    return pytest.fail.Exception(message, pytrace=False)


def refuse_sharing(address: str, workers: int) -> None:
    """Refuse to let several workers drive one machine: each would take the others' keys."""
    if workers > 1:
        pytest.fail(
            f"{workers} workers of pytest-xdist would share the machine at {address}: run without"
            " -n, or give each its own by --virtmesh-machine FILE",
            pytrace=False,
        )


@contextlib.contextmanager
def started(file: Path) -> Iterator[tuple[Path, str]]:
    """Start a machine in a folder of its own; gives its run folder and its address."""
    folder = make_folder()
    run_dir = folder / "run"
    try:
        copy_machine(file, folder)
        run_up(folder / file.name, run_dir)
        state = rundir.load(run_dir)
        if state is None:
            pytest.fail(f"the machine of {file} was gone as soon as it was ready", pytrace=False)
        yield run_dir, state.address
    finally:
        if state := rundir.load(run_dir):
            stop_machine(state)
        shutil.rmtree(folder, ignore_errors=True)


def make_folder() -> Path:
    """Make a folder whose path leaves room for those of sockets."""
    roots = [tempfile.gettempdir(), os.environ.get("XDG_RUNTIME_DIR") or "/tmp", "/tmp"]  # noqa: S108
    short = [one for one in roots if len(os.fsencode(one)) <= FOLDER_MAX]
    return Path(tempfile.mkdtemp(prefix="vm-", dir=short[0]))


def copy_machine(file: Path, folder: Path) -> None:
    """Copy a machine file, and the files that its devices have beside it, such as images.

    Files that an absolute path names are used where they are.
    """
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise failure(f"can't read the machine file {file}: {error}") from None
    for name in named_files(document):
        source, target = file.parent / name, folder / name
        if not Path(name).is_absolute() and ".." not in Path(name).parts and source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            copy_file(source, target)
    shutil.copyfile(file, folder / file.name)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file with its holes; on file systems that can, they share their blocks."""
    command = ["cp", "--sparse=always", "--reflink=auto", "--", str(source), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        pytest.fail(f"can't copy {source}: {done.stderr.strip()}", pytrace=False)


def named_files(document: dict[str, Any]) -> Iterator[str]:
    """Return what may name a file among the options of the devices."""
    devices = document.get("devices")
    for device in devices if isinstance(devices, list) else []:
        options = device.get("options") if isinstance(device, dict) else None
        for value in options.values() if isinstance(options, dict) else []:
            if isinstance(value, str) and value and "\0" not in value:
                yield value


def run_up(file: Path, run_dir: Path) -> None:
    """Run `virtmesh up --detach`. It fails the test with what the command says."""
    command = [sys.executable, "-P", "-m", "virtmesh_client", "up", "--detach", str(file)]
    command += ["--run-dir", str(run_dir), "--wait", str(READY_SECONDS)]
    try:
        done = subprocess.run(  # noqa: S603 - it is this distribution's own command
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=READY_SECONDS + SLACK_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise failure(f"{' '.join(command)} did not end") from None
    if done.returncode:
        pytest.fail(f"the machine did not start: {done.stderr.strip()}", pytrace=False)
