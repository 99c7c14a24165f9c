"""Commands come by entry points: one that is missing or broken says what to install."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support import ROOT
from virtmesh_client.cli.root import COMMANDS, cli

MODULE = """
import click

@click.command()
def toy():
    "Play with a toy."
    click.echo("it plays")

NO_COMMAND = 7
"""
ENTRY_POINTS = """
[virtmesh_client.commands]
blk = toy_client:toy
toy = toy_client:toy
missing = no_such_module:toy
nameless = toy_client:other
wrong = toy_client:NO_COMMAND
"""
STALE = """
import importlib.metadata, sys
importlib.metadata.entry_points = lambda **_: ()
from virtmesh_client.cli.run import run
sys.exit(run(sys.argv[1:]))
"""
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def virtmesh(tmp_path: Path) -> Run:
    """Return what runs `virtmesh` with a distribution beside it that adds commands."""
    (tmp_path / "toy_client.py").write_text(MODULE)
    metadata = tmp_path / "toy_client-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-client\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    script = (
        f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n"
        "from virtmesh_client.cli.run import run\nsys.exit(run(sys.argv[1:]))"
    )
    return lambda *arguments: python(script, *arguments)


def python(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a Python of its own."""
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_client_itself_has_no_command_of_a_kind() -> None:
    """They are added by its entry points, as those of any kind."""
    assert not {"blk", "console", "input", "serial", "uart"} & set(COMMANDS)
    for name in ("blk", "console", "input", "serial"):
        assert CliRunner().invoke(cli, [name, "--help"]).exit_code == 0


def test_a_distribution_adds_a_command(virtmesh: Run) -> None:
    """It is listed and called; it takes none of the client's away."""
    assert virtmesh("toy").stdout == "it plays\n"
    assert "  toy         Play with a toy.\n" in virtmesh("--help").stdout
    assert "Use a disk" in virtmesh("blk", "--help").stdout


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("missing", "can't be loaded from no_such_module:toy: No module named 'no_such_module'"),
        ("nameless", "can't be loaded from toy_client:other: module 'toy_client' has no"),
        ("wrong", "can't be loaded from toy_client:NO_COMMAND: it is no click.Command"),
    ],
)
def test_a_broken_command_takes_no_other_with_it(virtmesh: Run, name: str, why: str) -> None:
    """It says in one line what is wrong with it; help lists the others."""
    done = virtmesh(name, "--any", "thing")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert line.startswith(f"virtmesh: virtmesh {name} {why}")
    assert line.endswith("; install its distribution again, or remove it")

    shown = virtmesh("--help")
    assert shown.returncode == 0
    assert f"  {name:10}  Broken: install its distribution again.\n" in shown.stdout


def test_a_client_that_is_older_than_its_code_says_to_install_it_again() -> None:
    """Its entry points are those of the installation; a command about no kind is there still."""
    done = python(STALE, "blk", "info", "vda")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert "No such command 'blk'" in line
    assert "installation of virtmesh-client is incomplete or older than its code" in line
    assert python(STALE, "completion", "bash").returncode == 0


def test_a_mistyped_command_speaks_of_no_installation() -> None:
    """It is there."""
    result = CliRunner().invoke(cli, ["blkk"])
    assert result.exit_code == 2
    assert "No such command 'blkk'" in result.output
    assert "install" not in result.output
