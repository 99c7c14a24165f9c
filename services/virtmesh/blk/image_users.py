"""Who else uses an image and takes no lock: loop devices.

`mount -o loop` and losetup have the kernel open the file. It neither takes nor honours a lock, and
two writers destroy a file system. The kernel says which files its loop devices have open.
"""

from __future__ import annotations

import os
from pathlib import Path

from virtmesh_common.blk.errors import ImageLocked
from virtmesh_common.kernel_file import read_kernel_file

SYSTEM_BLOCK = Path("/sys/block")


def find_loop(image: Path, *, read_only: bool, system: Path = SYSTEM_BLOCK) -> str | None:
    """Name a loop device of an image, such as /dev/loop0, that keeps a disk from using it.

    Readers share an image. The kernel tells paths only: a file that has several, by hard links or
    in another mount namespace, is not recognised.
    """
    # Strings, and no more of the image than needed: each disk looks every two seconds.
    try:
        names = [one for one in os.listdir(system) if one.startswith("loop")]  # noqa: PTH208
    except OSError:
        return None
    path = None
    for name in names:
        try:
            backing = read_kernel_file(f"{system}/{name}/loop/backing_file").rstrip(b"\n")
            writes = read_kernel_file(f"{system}/{name}/ro").strip() == b"0"
            path = path or str(image.resolve())
        except OSError:
            continue  # It has no file.
        if os.fsdecode(backing) == path and (writes or not read_only):
            return f"/dev/{name}"
    return None


def refuse_loops(image: Path, *, read_only: bool) -> None:
    """Refuse an image that a loop device has. Errors: ImageLocked."""
    loop = find_loop(image, read_only=read_only)
    if loop is not None:
        raise ImageLocked(
            f"{image}: in use by the loop device {loop}: unmount what is mounted from it and run"
            f" losetup -d {loop}, or use a copy of the image"
        )
