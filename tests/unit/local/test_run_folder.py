"""Run folders are safe to use, and one machine's at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from virtmesh.local import run_folder
from virtmesh_common.errors import BadMachine


def test_a_run_folder_is_for_its_user_alone(tmp_path: Path) -> None:
    """Sockets in it are reached by nobody else."""
    folder = tmp_path / "a" / "b"
    run_folder.prepare(folder)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_run_folder_that_others_can_write_is_refused(tmp_path: Path) -> None:
    """Someone could replace the sockets."""
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(BadMachine, match="other users may write"):
        run_folder.prepare(folder)


def test_a_run_folder_that_others_can_replace_is_refused(tmp_path: Path) -> None:
    """A parent that all may write to, without the sticky bit."""
    parent = tmp_path / "open"
    parent.mkdir()
    parent.chmod(0o777)
    with pytest.raises(BadMachine, match="other users can replace"):
        run_folder.prepare(parent / "demo")


def test_a_folder_of_other_things_is_no_run_folder(tmp_path: Path) -> None:
    """Its files and sockets would be replaced and removed; a run folder is used again."""
    folder = tmp_path / "run"
    run_folder.prepare(folder)
    (folder / "vda.log").touch()
    run_folder.prepare(folder)
    (folder / run_folder.LOCK).unlink()
    with pytest.raises(BadMachine, match="has other files"):
        run_folder.prepare(folder)
    assert (folder / "vda.log").exists()


def test_a_folder_has_one_machine(tmp_path: Path) -> None:
    """The lock ends with its holder."""
    lock = run_folder.RunFolderLock(tmp_path)
    with pytest.raises(BlockingIOError):
        run_folder.RunFolderLock(tmp_path)
    lock.release()
    run_folder.RunFolderLock(tmp_path).release()
