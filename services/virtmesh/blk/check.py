"""What can be said of a disk's options before the disk is made: nothing is created."""

# ruff: noqa: A002 - format is the name of the option

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from virtmesh.blk.creation_mark import check_creation_mark
from virtmesh.blk.image import add_hint, check_image, check_new_image, describe_other_size
from virtmesh.blk.image_format import RAW
from virtmesh.blk.options import check_options
from virtmesh_common.blk.errors import BadSize, ImageNotFound

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from virtmesh.mmio.quirks import Quirk


def check(
    *,
    size: int | None,
    creation_mark: Path | None = None,
    format: str | None = None,
    resume: bool = False,
    quirks: Collection[Quirk] = (),
    **values: Any,
) -> None:
    """Check the options of a disk, and its image, before anything of a machine starts.

    Errors: click.BadParameter; ImageError with the mend, also for an image of another size.
    """
    del resume, quirks
    options = check_options(**values)
    image = options.image
    if image.exists():
        check_image(image, read_only=options.read_only, is_raw=format == RAW)
        other_size = describe_other_size(image, size)
        if other_size:
            raise BadSize(other_size)
        return
    if size is None:
        raise add_hint(ImageNotFound(""), image, options.block_size)
    check_creation_mark(image, creation_mark)
    check_new_image(image, size, options.block_size)
