"""The image behind a disk: made when it is missing, checked before it is opened."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from virtmesh.blk.image_format import container_of, refuse_containers
from virtmesh.blk.image_users import refuse_loops
from virtmesh_common.blk.errors import BadSize, ImageDenied, ImageError, ImageNotFound
from virtmesh_common.blk.spec import SECTOR

if TYPE_CHECKING:
    from pathlib import Path


def create_image(path: Path, size: int, block_size: int = SECTOR) -> bool:
    """Create a sparse image of `size` bytes; return False when there is a file already.

    A file that is there is never touched; a new one that can't get its size is removed.
    Errors: BadSize, ImageError, ImageDenied, ImageNotFound (no such folder).
    """
    check_new_image(path, size, block_size)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o660)
    except FileExistsError:
        return False
    except FileNotFoundError as error:
        raise ImageNotFound(f"{path}: no such folder: create {path.parent}") from error
    except PermissionError as error:
        raise ImageDenied(f"{path}: not permitted to create it in {path.parent}") from error
    except OSError as error:
        raise ImageError(f"{path}: can't be created: {error.strerror}") from error
    try:
        os.ftruncate(descriptor, size)
    except (OSError, OverflowError) as error:
        path.unlink(missing_ok=True)
        why = error.strerror if isinstance(error, OSError) else "no file is that large"
        raise ImageError(f"{path}: can't have {size} bytes: {why}") from error
    finally:
        os.close(descriptor)
    return True


def check_new_image(path: Path, size: int, block_size: int) -> None:
    """Check what can be said of a new image before it is made. Errors: BadSize, ImageNotFound."""
    if size <= 0 or size % block_size:
        raise BadSize(f"{size} bytes is no size for a disk: choose a multiple of {block_size}")
    if not path.parent.is_dir():
        raise ImageNotFound(f"{path}: no such folder: create {path.parent}")


def check_kind(path: Path) -> None:
    """Refuse what is neither a file nor a block device node: opening a pipe would wait for ever.

    A missing file is not this function's business. Errors: ImageError.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if stat.S_ISDIR(mode):
        raise ImageError(f"{path}: a folder is no image: name a file in it")
    if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
        raise ImageError(f"{path}: no image: name a regular file or a block device node")


def check_image(path: Path, *, read_only: bool, is_raw: bool) -> None:
    """Refuse an image that must not be served: no disk, a container, or one that a loop device has.

    `is_raw` is what the owner said of its format. A missing file is not this function's business.
    Errors: ImageError, NotRaw, ImageLocked.
    """
    check_kind(path)
    if not is_raw:
        refuse_containers(path)
    refuse_loops(path, read_only=read_only)


def describe_other_size(path: Path, size: int | None) -> str:
    """Say that an image is not as large as it was to be made; empty if it is, or is missing."""
    try:
        about = path.stat()
    except OSError:
        return ""
    if size is None or not stat.S_ISREG(about.st_mode) or about.st_size == size:
        return ""
    return (
        f"{path} has {about.st_size} bytes, not the {size} that the size says, which is for"
        " an image that is missing: leave the size out to use the image as it is, and change"
        " its size with `virtmesh blk resize`"
    )


def add_hint(error: ImageError, path: Path, block_size: int) -> ImageError:
    """Return the error in words that say what to do about it."""
    match error:
        case ImageNotFound():
            return ImageNotFound(f"{path}: no such image: create one with --size 64M")
        case ImageDenied() if "Read-only file system" in error.message:
            return ImageDenied(
                f"{path}: it is on a read-only file system: mount that writable, or use --read-only"
            )
        case ImageDenied():
            return ImageDenied(
                f"{path}: permission denied: give this user read and write access, or use"
                " --read-only"
            )
        case BadSize() if path.is_file() and is_odd(path.stat().st_size, block_size):
            return BadSize(_size_hint(path, path.stat().st_size, block_size))
    return error


def is_odd(size: int, block_size: int) -> bool:
    """Say whether no disk of these blocks has this size. Those of the storage may be larger."""
    return size == 0 or size % block_size > 0


def _size_hint(path: Path, size: int, block_size: int) -> str:
    """Say what to do about an image whose size no disk can have."""
    if size == 0:
        return f"{path}: the image is empty: give it a size with truncate -s 64M"
    what = f"{path}: {size} bytes is not a multiple of {block_size} bytes"
    container = container_of(path)
    if container is not None:
        return f"{what}, and it looks like a {container.name} image: convert it to raw"
    return f"{what}: fill it up with truncate -s %{block_size}"
