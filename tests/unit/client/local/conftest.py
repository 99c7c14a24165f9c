"""A user without machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from virtmesh_client.local import rundir


@pytest.fixture(autouse=True)
def _no_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the machines of the person who runs the tests."""
    for name in ("VIRTMESH_ADDRESS", rundir.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
