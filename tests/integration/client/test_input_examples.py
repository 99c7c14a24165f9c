"""The example scripts do what they say, against a machine of real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import ROOT
from tests.support.cli import SECONDS, Cli, own_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.processes

EXAMPLES = ROOT / "clients" / "examples"
EVEMU = ROOT / "tests" / "unit" / "client" / "input" / "data" / "mouse.evemu"


@pytest.fixture(scope="module")
def cli() -> Iterator[Cli]:
    """Start a machine with keyboard, mouse and tablet."""
    with own_folder() as cli:
        lines = ['name = "examples"']
        for name in ("keyboard", "mouse", "tablet"):
            lines += [
                "[[devices]]", f'name = "{name}"', 'kind = "input"',
                "[devices.options]", f'personality = "{name}"',
            ]  # fmt: skip
        (cli.folder / "examples.toml").write_text("\n".join(lines))
        cli.up("examples.toml")
        yield cli


@pytest.mark.parametrize(
    ("script", "arguments", "last_line"),
    [
        ("input_login.py", [], "logged in"),
        ("input_circle.py", ["--seconds", "0.2"], "drew 121 points; the last packet, 124, is"),
        ("input_replay.py", [EVEMU, "--speed", "20"], "16 packets delivered in"),
        ("input_two_injectors.py", [], "waits for the other. ' and 10 clicks"),
    ],
)
def test_an_example_runs(cli: Cli, script: str, arguments: list[object], last_line: str) -> None:
    """To its end, and says what it did."""
    result = subprocess.run(
        [sys.executable, EXAMPLES / script, *map(str, arguments)],
        env={**os.environ, "VIRTMESH_ADDRESS": cli.state.address},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert last_line in result.stdout.splitlines()[-1]


def test_a_console_in_a_file_is_read(cli: Cli, tmp_path: Path) -> None:
    """As a log that a system under test writes."""
    console = tmp_path / "console.log"
    console.write_text("login: root\nPassword: \nroot$ ")
    result = subprocess.run(
        [
            sys.executable,
            EXAMPLES / "input_login.py",
            *("--console", str(console), "--user", "root", "--password", "x", "--layout", "us"),
        ],
        env={**os.environ, "VIRTMESH_ADDRESS": cli.state.address},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "the console shows 'root$ '" in result.stdout
