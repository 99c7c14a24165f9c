"""The errors of disks."""

from virtmesh_common.errors import (
    BadSize,
    BlockError,
    BlockIOError,
    BlockReadOnly,
    BlockUnsupported,
    ImageDenied,
    ImageError,
    ImageLocked,
    ImageNotFound,
    NotResizable,
    PastEnd,
    Unaligned,
    WouldShrink,
)

__all__ = [
    "BadSize",
    "BlockError",
    "BlockIOError",
    "BlockReadOnly",
    "BlockUnsupported",
    "ImageDenied",
    "ImageError",
    "ImageLocked",
    "ImageNotFound",
    "NotResizable",
    "PastEnd",
    "Unaligned",
    "WouldShrink",
]
