"""docs/drivers.md, followed to the letter by a driver that knows nothing of virtmesh."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.docs import marked_blocks, run_page

pytestmark = pytest.mark.processes

PAGE = ROOT / "docs" / "drivers.md"
ALLOWED = {"fcntl", "grpc", "mmap", "os", "queue", "socket", "struct"}
"""What the page may import, beside generated stubs."""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Serve a disk of 4 MiB in a process of its own; return its address."""
    address = f"unix:{tmp_path / 'vda.sock'}"
    command = [
        *(sys.executable, "-m", "virtmesh.host.main", "blk", "--name", "vda"),
        *("--image", str(tmp_path / "disk.img"), "--size", "4M"),
        *("--listen", address, "--log", "json"),
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert any(json.loads(line)["event"] == "serving" for line in process.stderr)
            yield address
        finally:
            process.kill()


def test_the_page_drives_a_disk(address: str) -> None:
    """It attaches, negotiates, reads the capacity, resets and detaches."""
    names = run_page(PAGE, ADDRESS=address)

    assert names["capacity_bytes"] == 4 << 20


def test_the_page_needs_nothing_of_virtmesh() -> None:
    """Only gRPC, the generated stubs and the standard library."""
    imported = {
        name
        for _, code in marked_blocks(PAGE)
        for node in ast.walk(ast.parse(code))
        for name in imported_names(node)
    }

    assert {name for name in imported if not name.startswith("virtmesh_common.api.")} == ALLOWED


def imported_names(node: ast.AST) -> list[str]:
    """Return the modules that a statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []
