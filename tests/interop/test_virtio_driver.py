"""The crate virtio-driver, which shares no code with virtmesh, drives a disk."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.cli import Cli
from virtmesh_client import connect

CRATE = Path(__file__).parent / "virtio-driver"
BUILD_SECONDS = 500
RUN_SECONDS = 60


@pytest.fixture(scope="session")
def client(parts: Path) -> Path:
    """Build the client."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", parts.parent / "interop"))
    subprocess.run(
        ["cargo", "build", "--quiet", "--locked", "--target-dir", target],
        cwd=CRATE,
        check=True,
        timeout=BUILD_SECONDS,
    )
    return target / "debug/virtmesh-interop"


@pytest.mark.parametrize("rings", ["split", "packed"])
def test_another_driver_gets_back_what_it_wrote(rings: str, client: Path, cli: Cli) -> None:
    """It writes, flushes, reads, zeroes and discards; the disk counts each of its requests."""
    cli.up("--vhost-user", "--disk", "disk.img,size=16M")

    ran = subprocess.run(
        [client, cli.run_dir / "vda.vhost-user", rings],
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )

    with connect(cli.state.address) as machine:
        counted = {row.type: row.ok for row in machine.disk("vda").stats().requests}
    assert ran.stderr == ""
    assert ran.returncode == 0
    assert counted == counted | {"OUT": 16, "IN": 32, "FLUSH": 1, "WRITE_ZEROES": 8, "DISCARD": 1}
