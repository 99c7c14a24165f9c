"""The image behind a disk: made when it is missing, and what to do when it can't be used."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from virtmesh_common.blk.errors import BadSize, ImageDenied, ImageError, ImageLocked, ImageNotFound
from virtmesh_common.blk.spec import SECTOR

if TYPE_CHECKING:
    from pathlib import Path


def create_image(path: Path, size: int, block_size: int = SECTOR) -> bool:
    """Create a sparse image of `size` bytes; return False when there is a file already.

    A file that is there is never touched; a new one that can't get its size is removed.
    Errors: BadSize, ImageError, ImageDenied, ImageNotFound (no such folder).
    """
    if size <= 0 or size % block_size:
        raise BadSize(f"{size} bytes is no size for a disk: choose a multiple of {block_size}")
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
    except OSError as error:
        path.unlink(missing_ok=True)
        raise ImageError(f"{path}: can't have {size} bytes: {error.strerror}") from error
    finally:
        os.close(descriptor)
    return True


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


def add_hint(error: ImageError, path: Path, block_size: int) -> ImageError:
    """Return the error in words that say what to do about it."""
    match error:
        case ImageNotFound():
            return ImageNotFound(f"{path}: no such image: create one with --size 64M")
        case ImageLocked():
            return ImageLocked(f"{path}: locked by another process: stop it, or use a copy")
        case ImageDenied():
            return ImageDenied(
                f"{path}: permission denied: give this user read and write access, or use"
                " --read-only"
            )
        case BadSize() if path.is_file() and path.stat().st_size == 0:
            return BadSize(f"{path}: the image is empty: give it a size with truncate -s 64M")
        case BadSize() if path.is_file():
            return BadSize(
                f"{path}: {path.stat().st_size} bytes is not a multiple of {block_size} bytes:"
                f" fill it up with truncate -s %{block_size}"
            )
    return error
