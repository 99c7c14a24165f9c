"""Images that are containers, such as qcow2, are recognised before a disk is served, and refused.

What is served is always raw; nothing is probed while a guest can write it. A container that is
served as raw would lose its content with the first write, and its guest would see the header of a
file instead of a disk.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from virtmesh_common.blk.containers import FOOTER, HEAD, Container, find_container
from virtmesh_common.blk.errors import NotRaw

if TYPE_CHECKING:
    from pathlib import Path

RAW = "raw"
"""The only format that is served."""


def refuse_containers(path: Path) -> None:
    """Refuse an image that is in a format of its own. What can't be read is passed over.

    Errors: NotRaw, with the command that makes a raw image of it.
    """
    found = container_of(path)
    if found is None:
        return
    raise NotRaw(
        f"{path}: a {found.name} image, and only raw ones are served: writing to it as it is would"
        f" destroy it. Make a raw image with `{found.spell_command(path)}`; if this is a raw disk"
        " that only looks so, say format=raw",
        format=found.name,
    )


def container_of(path: Path) -> Container | None:
    """Return the format that an image is in; None for what may be raw or can't be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None  # Whoever opens it says why.
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
            return None
        size = os.lseek(descriptor, 0, os.SEEK_END)
        # The trailer counts for files only: what ends a partition is not the end of a file.
        has_end = stat.S_ISREG(mode) and size >= FOOTER
        tail = os.pread(descriptor, FOOTER, size - FOOTER) if has_end else b""
        return find_container(os.pread(descriptor, HEAD, 0), tail)
    except OSError:
        return None
    finally:
        os.close(descriptor)
