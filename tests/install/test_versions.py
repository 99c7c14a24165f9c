"""The wheels work with the lowest and the highest versions that their metadata promise.

Each environment starts a machine, and does a little of everything there: stubs that are newer than
their runtime, or a name that a package does not have yet, fail at the import.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.cli import Cli, own_folder
from tests.support.fresh_environment import Versions, find_pythons, make_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

PYTHONS = list(find_pythons())
ENVIRONMENTS = [
    *((PYTHONS[0], versions) for versions in Versions),
    *((python, Versions.HIGHEST) for python in PYTHONS[1:]),
]
"""Each interpreter with the newest, the distribution's with the oldest as well."""


@pytest.fixture(params=ENVIRONMENTS, ids="-".join)
def installed(request: pytest.FixtureRequest, wheels: Path, tmp_path: Path) -> Iterator[Cli]:
    """Install all four wheels into a new environment; gives its `virtmesh`."""
    python, versions = request.param
    interpreter = make_environment(tmp_path / "venv", wheels.glob("*.whl"), python, versions)
    with own_folder() as cli:
        # Nothing of the source tree.
        yield Cli(cli.folder, {"PYTHONPATH": ""}, str(interpreter))


def test_a_machine_runs_and_its_client_uses_it(installed: Cli) -> None:
    """The disk keeps what it is given, keys are delivered, a trace is drawn."""
    installed.up("--disk", "disk.img,size=16M", "--input", "keyboard")

    devices = json.loads(ok(installed, "--json", "devices"))
    assert {one["name"]: one["state"] for one in devices} == dict.fromkeys(
        ("vda", "keyboard", "serial"), "ready"
    )
    data = installed.folder / "data"
    data.write_bytes(b"virtmesh" * 512)
    ok(installed, "blk", "import", "--verify", "vda", data)
    assert "virtmesh" in ok(installed, "blk", "read", "vda", "--length", "16")
    assert "CAPACITY" in ok(installed, "registers", "-d", "vda").upper()
    ok(installed, "input", "key", "a", "--wait", "delivered")
    drawing = installed.folder / "trace.pftrace"
    ok(installed, "trace", "-d", "vda", "--perfetto", drawing)
    assert drawing.stat().st_size > 0
    assert "vda" in ok(installed, "top", "--once")
    ok(installed, "serial", "info")
    ok(installed, "down")


def ok(cli: Cli, *arguments: object) -> str:
    """Run a command that succeeds, without a warning; returns what it prints."""
    done = cli(*arguments)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return done.stdout
