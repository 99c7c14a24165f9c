"""The log of a disk's writes: begun, gone on with, refused, full."""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING

import pytest
from virtmesh_native import BlkDevice

from virtmesh.blk.write_log import make_write_log
from virtmesh_client.powerloss import read_log
from virtmesh_common.blk.errors import BlockIOError, ImageError

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 1 << 20


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Make an image."""
    path = tmp_path / "disk.img"
    path.write_bytes(os.urandom(SIZE))
    return path


def test_a_log_is_begun_and_gone_on_with(image: Path, tmp_path: Path) -> None:
    """A disk that starts again has the marks of before, and one of its start."""
    path = tmp_path / "disk.log"
    for run in range(3):
        disk = BlkDevice(str(image), write_log=str(path))
        assert disk.write_log is not None
        disk.write_log.mark(f"run {run}")
        assert disk.write_log.entries == 2 * (run + 1)
        assert disk.write_log.trouble is None
        disk.close()
    log = read_log(path)
    assert [mark.text for mark in log.marks] == ["run 0", "run 1", "run 2"]
    assert log.runs == 3
    times = [mark.time for mark in log.marks]
    assert times == sorted(set(times))
    assert (log.capacity, log.block_size) == (SIZE, 512)


def test_a_log_that_is_made_is_for_its_owner(image: Path, tmp_path: Path) -> None:
    """By the service, before it is confined, or by the disk. One that is there stays as it is."""
    made, other, there = (tmp_path / name for name in ("made.log", "other.log", "there.log"))
    there.touch()
    there.chmod(0o644)
    for path in (made, there):
        make_write_log(path)
    for path in (made, other, there):
        BlkDevice(str(image), write_log=str(path)).close()
    assert [path.stat().st_mode & 0o777 for path in (made, other, there)] == [0o600, 0o600, 0o644]


def test_what_was_not_written_whole_is_taken_off(image: Path, tmp_path: Path) -> None:
    """As when a service was killed while it wrote an entry."""
    path = tmp_path / "disk.log"
    BlkDevice(str(image), write_log=str(path)).close()
    whole = path.read_bytes()
    with path.open("ab") as file:
        file.write(b"\xff" * 700)
    BlkDevice(str(image), write_log=str(path)).close()
    assert path.read_bytes()[512 : len(whole)] == whole[512:]
    assert read_log(path).runs == 2


def test_a_log_that_is_none_of_this_disk_is_refused(image: Path, tmp_path: Path) -> None:
    """With what is wrong, and before the file is changed."""
    text = tmp_path / "notes.txt"
    text.write_text("my notes\n" * 100)
    with pytest.raises(ImageError, match="not a log of writes that a disk of virtmesh made"):
        BlkDevice(str(image), write_log=str(text))
    assert text.read_text() == "my notes\n" * 100
    with pytest.raises(ImageError, match="this is the image itself"):
        BlkDevice(str(image), write_log=str(image))
    other, path = tmp_path / "other.img", tmp_path / "other.log"
    other.write_bytes(bytes(SIZE * 2))
    holder = BlkDevice(str(other), write_log=str(path))
    with pytest.raises(ImageError, match="another process writes this log"):
        BlkDevice(str(image), write_log=str(path))
    holder.close()
    with pytest.raises(ImageError, match="a log of another disk"):
        BlkDevice(str(image), write_log=str(path))
    os.truncate(path, 700)
    with pytest.raises(ImageError, match="cut off or changed"):
        BlkDevice(str(other), write_log=str(path))


def test_a_log_that_is_full_is_told_and_takes_no_marks(image: Path, tmp_path: Path) -> None:
    """From then on: also when there is room again."""
    path = tmp_path / "disk.log"
    disk = BlkDevice(str(image), write_log=str(path))
    log = disk.write_log
    assert log is not None
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, hard))
    try:
        with pytest.raises(BlockIOError, match="File too large") as caught:
            log.mark("one more")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "make room, and start the disk with a new log" in str(caught.value)
    assert "File too large" in (log.trouble or "")
    with pytest.raises(BlockIOError, match="lacks a write"):
        log.mark("later")
    disk.close()


def test_a_log_that_lacks_a_write_lacks_it_in_the_next_run_too(image: Path, tmp_path: Path) -> None:
    """A supervisor starts a service anew by itself: the log would look whole from then on."""
    path = tmp_path / "disk.log"
    disk = BlkDevice(str(image), write_log=str(path))
    assert disk.write_log is not None
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, hard))
    try:
        with pytest.raises(BlockIOError, match="File too large"):
            disk.write_log.mark("one more")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    disk.close()

    disk = BlkDevice(str(image), write_log=str(path))
    assert disk.write_log is not None
    with pytest.raises(BlockIOError, match="lacks a write, since it failed: in an earlier run"):
        disk.write_log.mark("later")
    assert "start the disk with a new log" in (disk.write_log.trouble or "")
    disk.close()
