"""What can be said of a disk's options before the disk is made: nothing is created or opened."""

from __future__ import annotations

from typing import Any

from virtmesh.blk.image import check_kind
from virtmesh.blk.options import check_options
from virtmesh_common.blk.errors import BadSize, ImageNotFound


def check(*, size: int | None, **values: Any) -> None:
    """Check the options of a disk. Errors: click.BadParameter; ImageError, with the mend."""
    options = check_options(**values)
    image = options.image
    check_kind(image)
    if image.exists():
        return
    if size is None:
        raise ImageNotFound(f"{image}: no such image: create one with the option size=64M")
    if not image.parent.is_dir():
        raise ImageNotFound(f"{image}: no such folder: create {image.parent}")
    if size <= 0 or size % options.block_size:
        raise BadSize(
            f"{size} bytes is no size for a disk: choose a multiple of {options.block_size}"
        )
