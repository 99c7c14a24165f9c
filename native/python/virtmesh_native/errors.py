"""The exceptions that the native code raises.

_native imports this module once, when it is imported itself, and looks each class up then: a class
that is missing here fails the import of virtmesh_native.
"""

from virtmesh_common.blk.errors import (
    BadSize,
    BlockIOError,
    BlockReadOnly,
    ImageDenied,
    ImageError,
    ImageLocked,
    ImageNotFound,
    NotResizable,
)
from virtmesh_common.errors import (
    BadDoorbell,
    BadStream,
    DeviceLost,
    DriverViolation,
    MemoryRefused,
    MemoryTooSmall,
    MemoryUnsealed,
    NoSuchQueue,
    RegisterError,
    RingCorrupt,
    VirtmeshError,
)

__all__ = [
    "BadDoorbell",
    "BadSize",
    "BadStream",
    "BlockIOError",
    "BlockReadOnly",
    "DeviceLost",
    "DriverViolation",
    "ImageDenied",
    "ImageError",
    "ImageLocked",
    "ImageNotFound",
    "MemoryRefused",
    "MemoryTooSmall",
    "MemoryUnsealed",
    "NoSuchQueue",
    "NotResizable",
    "RegisterError",
    "RingCorrupt",
    "VirtmeshError",
]
