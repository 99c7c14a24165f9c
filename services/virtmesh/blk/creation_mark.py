"""A file that says that a disk has had its image: a missing one is then a loss, not a first start.

It is for supervisors that start a crashed service with the same command line again, such as Docker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_common.blk.errors import ImageError, ImageNotFound

if TYPE_CHECKING:
    from pathlib import Path

TEXT = "virtmesh made the image of a disk, and does not make it again while this file is here.\n"


def check_creation_mark(image: Path, mark: Path | None) -> None:
    """Refuse to make an image anew that was there before. Errors: ImageNotFound."""
    if mark is not None and mark.exists() and not image.exists():
        raise ImageNotFound(
            f"{image}: the image is gone, and {mark} says that it was there: put it back, or"
            " remove that file to begin with an empty disk"
        )


def leave_creation_mark(mark: Path) -> None:
    """Make the mark. Errors: ImageError."""
    try:
        mark.write_text(TEXT, encoding="utf-8")
    except OSError as error:
        raise ImageError(f"{mark}: the creation mark can't be written: {error.strerror}") from error
