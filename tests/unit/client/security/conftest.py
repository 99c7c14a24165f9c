"""A user without logins, and a machine with an authority."""

from __future__ import annotations

from pathlib import Path

import pytest

from virtmesh_client.security import choice
from virtmesh_common.security.authority import Authority


@pytest.fixture(autouse=True)
def _fresh_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the logins, and the environment, of the person who runs the tests."""
    for name in (choice.BUNDLE_VARIABLE, choice.TOKEN_VARIABLE, choice.CA_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("VIRTMESH_SECURITY", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the security folder of a machine."""
    path = tmp_path / "security"
    Authority.create(path).close()
    return path
