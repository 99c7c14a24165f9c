"""docs/testing-an-os.md with labgrid, in an environment of its own: its pyserial is a fork."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support import ROOT
from tests.support.cli import own_folder
from tests.support.fresh_environment import Versions, make_environment
from tests.support.tutorial import files_of

if TYPE_CHECKING:
    from pathlib import Path

FILES = ("env.yaml", "test_lab.py")
PORT = "port: 2217"
SECONDS = 120.0


def test_the_tests_of_the_page_pass(wheels: Path, tmp_path: Path) -> None:
    """The console over RFC 2217, keyboard and disk over gRPC, with the client's wheels alone."""
    client = [*wheels.glob("virtmesh_common-*.whl"), *wheels.glob("virtmesh_client-*.whl")]
    python = make_environment(
        tmp_path / "venv", client, sys.executable, Versions.HIGHEST, "labgrid>=25", "pytest>=8"
    )
    written = files_of((ROOT / "docs" / "testing-an-os.md").read_text())
    with own_folder() as cli:
        cli.up("--disk", "disk.img,size=16M", "--input", "keyboard")
        with cli.spawn("console", "--rfc2217", "127.0.0.1:0") as console:
            assert console.stdout is not None
            port = console.stdout.readline().decode().strip().rpartition(":")[2]
            for name in FILES:
                (tmp_path / name).write_text(written[name].replace(PORT, f"port: {port}"))
            done = subprocess.run(
                [python, "-m", "pytest", "-q", "--lg-env=env.yaml", "test_lab.py"],
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": "", "LG_VIRTMESH": cli.state.address},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=SECONDS,
            )
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout
