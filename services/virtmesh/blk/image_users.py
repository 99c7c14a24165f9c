"""Who else uses an image and takes no lock: loop devices.

`mount -o loop` and losetup have the kernel open the file. It neither takes nor honours a lock, and
two writers destroy a file system. The kernel says which files its loop devices have open.
"""

from __future__ import annotations

import os
from pathlib import Path

from virtmesh_common.blk.errors import ImageLocked

SYSTEM_BLOCK = Path("/sys/block")


def find_loop(image: Path, *, read_only: bool, system: Path = SYSTEM_BLOCK) -> str | None:
    """Name a loop device of an image, such as /dev/loop0, that keeps a disk from using it.

    Readers share an image. The kernel tells paths only: a file that has several, by hard links or
    in another mount namespace, is not recognised.
    """
    try:
        path = str(image.resolve())
        names = [one for one in system.iterdir() if one.name.startswith("loop")]
    except OSError:
        return None
    for loop in names:
        try:
            backing = os.fsdecode((loop / "loop" / "backing_file").read_bytes()).rstrip("\n")
            writes = (loop / "ro").read_text().strip() == "0"
        except OSError:
            continue  # It has no file.
        if backing == path and (writes or not read_only):
            return f"/dev/{loop.name}"
    return None


def refuse_loops(image: Path, *, read_only: bool) -> None:
    """Refuse an image that a loop device has. Errors: ImageLocked."""
    loop = find_loop(image, read_only=read_only)
    if loop is not None:
        raise ImageLocked(
            f"{image}: in use by the loop device {loop}: unmount what is mounted from it and run"
            f" losetup -d {loop}, or use a copy of the image"
        )
