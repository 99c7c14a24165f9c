"""The log file of a serial line: complete at the end, and no burden when it can't be written."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from virtmesh.testing.memory_line import MemoryLine
from virtmesh.uart.line.far_end import FarEnd
from virtmesh.uart.line.log_file import LogFile


def test_all_output_is_appended(tmp_path: Path) -> None:
    """As it is, behind what the file already has; it is complete when the far end is closed."""
    path = tmp_path / "serial.log"
    path.write_bytes(b"yesterday\n")
    line = MemoryLine()
    far_end = FarEnd(line, log_file=LogFile(path))
    everything = bytes(range(256)) * 40
    for byte in everything:
        line.say(bytes([byte]))
    far_end.close()
    assert path.read_bytes() == b"yesterday\n" + everything
    assert far_end.log_lost_bytes == 0


def test_a_new_file_is_not_for_everybody(tmp_path: Path) -> None:
    """A console shows things that others must not read."""
    path = tmp_path / "serial.log"
    LogFile(path).close()
    assert path.stat().st_mode & 0o007 == 0


def test_a_file_that_can_not_be_opened(tmp_path: Path) -> None:
    """The device says so at its start."""
    with pytest.raises(FileNotFoundError):
        LogFile(tmp_path / "missing" / "serial.log")


def test_a_pipe_that_nobody_reads(tmp_path: Path) -> None:
    """It is refused: the device does not wait for a reader."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="No such device"):
        LogFile(tmp_path / "pipe")


def test_a_file_that_is_moved_away(tmp_path: Path) -> None:
    """A new one is made at its path, so that logs can be rotated without a signal."""
    path, old = tmp_path / "serial.log", tmp_path / "serial.log.1"
    log_file = LogFile(path)
    log_file.append(b"old")
    assert log_file.flush()
    path.rename(old)
    log_file.append(b"new")
    log_file.close()
    assert (old.read_bytes(), path.read_bytes()) == (b"old", b"new")


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """Output is counted until that is mended, then written again; each is said once."""
    path = tmp_path / "serial.log"
    path.symlink_to("/dev/full")
    log_file = LogFile(path)
    with capture_logs() as events:
        for _ in range(3):
            log_file.append(b"12345")
            assert log_file.flush()
        path.unlink()
        log_file.append(b"after")
        log_file.close()
    assert log_file.lost_bytes == 15
    assert path.read_bytes() == b"after"
    assert [event["log_level"] for event in events] == ["warning", "info"]
    assert events[0]["error"] == "No space left on device"


def test_a_folder_that_goes_away(tmp_path: Path) -> None:
    """It is counted, and the line goes on."""
    folder = tmp_path / "logs"
    folder.mkdir()
    line = MemoryLine()
    log_file = LogFile(folder / "serial.log")
    far_end = FarEnd(line, log_file=log_file)
    (folder / "serial.log").unlink()
    folder.rmdir()
    line.say(b"lost")
    far_end.close()
    assert far_end.log_lost_bytes == 4
    assert far_end.scrollback.read(0, 10) == b"lost"


def test_a_disk_that_does_not_keep_up(tmp_path: Path) -> None:
    """The loop never waits for it: what the queue has no room for is lost, and counted."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    pipe_bytes = fcntl.fcntl(reader, fcntl.F_GETPIPE_SZ)
    log_file = LogFile(pipe, queue_max=1 << 20)
    chunks = [bytes([i]) * 1024 for i in range(256)] * 8
    for chunk in chunks:
        log_file.append(chunk)
    # The thread holds what the pipe has no room for, which counts as waiting.
    assert (1 << 20) - pipe_bytes <= log_file.lost_bytes <= 1 << 20
    kept = len(chunks) * 1024 - log_file.lost_bytes
    os.set_blocking(reader, True)
    got = b""
    while len(got) < kept:
        got += os.read(reader, 1 << 20)
    log_file.close()
    assert os.read(reader, 1) == b""
    os.close(reader)
    assert got[: 1 << 20] == b"".join(chunks[:1024])


def test_output_after_the_end_is_counted(tmp_path: Path) -> None:
    """It is not written, and nothing waits for ever."""
    log_file = LogFile(tmp_path / "serial.log")
    log_file.close()
    log_file.append(b"late")
    assert log_file.lost_bytes == 4
    assert log_file.flush()
