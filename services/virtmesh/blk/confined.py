"""A disk and its sandbox: what is done before it, and what the service still reaches within it.

The image and its creation mark are made before. So is a first try to lock the image, since only
from outside can it be told who else has it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from virtmesh_native import try_image

from virtmesh.blk.creation_mark import leave_creation_mark
from virtmesh.blk.image import add_hint, check_image
from virtmesh.blk.image_format import RAW
from virtmesh.blk.options import check_options, make_image
from virtmesh.blk.settings import NONE
from virtmesh.blk.write_log import make_write_log
from virtmesh.sandbox import Access, Needs
from virtmesh_common.blk.errors import ImageError, ImageLocked

if TYPE_CHECKING:
    from collections.abc import Collection

    from virtmesh.blk.settings import BlkOptions
    from virtmesh.mmio.quirks import Quirk

LOOPS = (Path("/sys/block"), Path("/sys/devices/virtual/block"))
"""Where loop devices say which files they use."""
ENTER = "io_uring_enter"
RINGS = ("io_uring_setup", "io_uring_register")
"""What makes rings, of an odd number of entries: libuv, which asks for an even one, gets none. They
are made before the service is sealed, and limited to what it has open: seccomp does not see what
goes through a ring."""
LEAVING_SECONDS = 10.0
"""How long a disk that is started again waits for an image that nobody seems to have: the storage
may hang in what it was told by the service that was killed. It is more than what counts as an early
death (`local/restarts.py`): the disk is not held, but is there again once the storage answers."""
BLKDISCARD = 0x1277
"""The request of ioctl for block device nodes."""
# ruff: noqa: A002 - format is the name of the option


def prepare(
    *,
    size: int | None = None,
    format: str | None = None,
    resume: bool = False,
    quirks: Collection[Quirk] = (),
    creation_mark: Path | None = None,
    **values: Any,
) -> None:
    """Make the image if it is missing, see whether it can be had, and leave its mark.

    Errors: those of `make`.
    """
    del quirks
    options = check_options(**values)
    image = options.image
    make_write_log(options.write_log)
    make_image(options, size, creation_mark, resume=resume)
    check_image(image, read_only=options.read_only, is_raw=resume or format == RAW)
    try:
        lock(options, LEAVING_SECONDS if resume else 0)
    except ImageError as error:
        raise add_hint(error, image, options.block_size) from error
    if creation_mark is not None:
        leave_creation_mark(creation_mark)


def lock(options: BlkOptions, patience: float) -> None:
    """See whether the image can be had, and let it go again; wait while nobody seems to have it.

    Errors: ImageError.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            return try_image(  # which waits a while itself
                str(options.image),
                options.read_only,
                options.block_size,
                bypass_cache=options.cache == NONE,
            )
        except ImageLocked as error:
            if error.metadata["holder"] or time.monotonic() >= deadline:
                raise


def needs(
    *,
    image: Path,
    creation_mark: Path | None = None,
    read_only: bool = False,
    write_log: Path | None = None,
    **others: Any,
) -> Needs:
    """Return what the service of a disk needs of its sandbox."""
    paths = [(image, Access.READ if read_only else Access.WRITE)]
    if creation_mark is not None:
        paths.append((creation_mark, Access.WRITE))
    if write_log is not None:
        paths.append((write_log, Access.WRITE))
    paths += [(path, Access.READ) for path in LOOPS]
    has_rings = others.get("cache") == NONE and others.get("engine") in {"auto", "io_uring"}
    return Needs(
        paths,
        ioctls=(BLKDISCARD,),
        system_calls=(ENTER,) if has_rings else (),
        unsealed_calls=RINGS if has_rings else (),
    )
