"""The log of what changes a disk: its file, its marks, and what it forbids.

Native code writes it (native/blk/src/write_log.rs); `virtmesh blk powerloss-check` reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_common.blk.errors import ImageError, NotRecording, NotResizable

if TYPE_CHECKING:
    from pathlib import Path

    from virtmesh_native import BlkDevice

FILE_MODE = 0o600
"""A log has all that is written to the disk: it is for its owner alone, until he says otherwise."""


def make_write_log(path: Path | None) -> None:
    """Make the file if it is missing, before the sandbox allows it to. Errors: ImageError."""
    if path is None:
        return
    try:
        path.touch(FILE_MODE, exist_ok=True)
    except OSError as error:
        raise ImageError(
            f"{path}: the write log can't be made: {error.strerror}: give a file in a folder that"
            " the service may write to"
        ) from error


def refuse_resize(disk: BlkDevice, name: str) -> None:
    """Let no disk change its size while it is recorded. Errors: NotResizable."""
    if disk.write_log is not None:
        raise NotResizable(
            f"{name} records its writes, and a log is about a disk of one size: start it without"
            " write-log to resize it"
        )


def put_mark(disk: BlkDevice, name: str, text: str) -> int:
    """Put a mark into the log; returns the entries that it has. It may wait for the storage.

    Errors: NotRecording; BlockIOError if the log can't be written.
    """
    log = disk.write_log
    if log is None:
        raise NotRecording(
            f"{name} records no writes: start it with write-log=FILE (virtmesh up --disk"
            " IMAGE,write-log=FILE)"
        )
    log.mark(text)
    return log.entries


def write_log_trouble(disk: BlkDevice) -> str:
    """Say why the log lacks a write; empty while it lacks none, and without a log."""
    log = disk.write_log
    return (log.trouble or "") if log is not None else ""
