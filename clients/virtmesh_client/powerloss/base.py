"""The image from before the recording: whether it is the one that the log is about."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from virtmesh_client.powerloss.log import SECTOR, fingerprint
from virtmesh_common.blk.errors import BadWriteLog

if TYPE_CHECKING:
    from pathlib import Path

    from virtmesh_client.powerloss.log import WriteLog


def check_base(log: WriteLog, image: Path) -> int:
    """Return the size of the base in bytes. Errors: BadWriteLog if the log is about another one."""
    with image.open("rb", buffering=0) as base:
        size = os.lseek(base.fileno(), 0, os.SEEK_END)
        if log.capacity is not None and size != log.capacity:
            raise BadWriteLog(
                f"{log.path}: the log of a disk of {log.capacity} bytes, and {image} has {size}:"
                " give a copy of the disk from before the recording"
            )
        if size < log.end * SECTOR:
            raise BadWriteLog(
                f"{log.path}: writes up to byte {log.end * SECTOR}, and {image} has {size}: give a"
                " copy of the disk from before the recording"
            )
        if log.fingerprint is not None and fingerprint(base, size) != log.fingerprint:
            raise BadWriteLog(
                f"{image}: not what the disk held when {log.path} was begun: give a copy from"
                " before that, made with cp --sparse=always before the disk was started with"
                " write-log"
            )
    return size
