"""Folders that are not as they were, or that belong to everybody."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from virtmesh_common.security.authority import Authority
from virtmesh_common.security.errors import BadSecurityFolder


def test_a_folder_that_was_replaced_as_a_whole_is_told(tmp_path: Path) -> None:
    """Who has it open reads nothing of the new one: it has to be started again."""
    path = tmp_path / "security"
    with Authority.create(path) as authority:
        shutil.rmtree(path)
        with pytest.raises(BadSecurityFolder, match="replaced as a whole: restart"):
            authority.revocations.all()
        Authority.create(path).close()
        with pytest.raises(BadSecurityFolder, match="replaced as a whole: restart"):
            authority.revocations.all()


def test_a_folder_for_all_is_not_to_be_closed(tmp_path: Path) -> None:
    """Others need /tmp as it is."""
    path = tmp_path / "shared"
    path.mkdir()
    path.chmod(0o1777)
    with pytest.raises(BadSecurityFolder, match="choose a folder in it") as caught:
        Authority.create(path)
    assert "chmod" not in str(caught.value)
