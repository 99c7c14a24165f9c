"""The exceptions of disks. virtmesh_common.errors says how they travel over gRPC.

VirtmeshError
|-- ImageError                the image behind a disk
|   |-- ImageNotFound         there is none
|   |-- ImageLocked           another process has it
|   |-- ImageDenied           its permissions refuse
|   |-- BadWriteLog           a log of writes that is none, or not of that image
|   |-- CheckerFailed         what checks an image could not be run
|   |-- NotRaw                its format is not raw ("format")
|   `-- BadSize               not a usable size ("size_bytes")
|-- FileNotTaken              a file for a copy that the kernel service does not take
|-- FileFailed                a file of a copy that could not be read or written ("errno")
`-- BlockError                a request the disk did not carry out
|-- BlockIOError          VIRTIO_BLK_S_IOERR, or an error of the image ("cause", "errno")
|-- BlockUnsupported      VIRTIO_BLK_S_UNSUPP
|-- BlockReadOnly         a write to a read-only disk
|-- PastEnd               behind the last byte of the disk
|-- Unaligned             a range that must be aligned to blocks
|-- WouldShrink           a resize would cut data off
|-- DiskChanged           it came back as another disk, so what was begun can't go on ("what")
|-- StorageStuck          the storage does not answer: what was begun goes on when it does
|-- NotRecording          it records no writes, so it takes no mark
`-- NotResizable          a block device node has the size it has
"""

from __future__ import annotations

from grpc import StatusCode as Code

from virtmesh_common.errors import VirtmeshError


class ImageError(VirtmeshError, code=Code.FAILED_PRECONDITION):
    """The image behind a disk."""


class ImageNotFound(ImageError, code=Code.NOT_FOUND):
    """There is none."""


class ImageLocked(ImageError):
    """Another process has it ("holder": its name and pid, if they can be known)."""


class ImageDenied(ImageError, code=Code.PERMISSION_DENIED):
    """Its permissions refuse."""


class BadWriteLog(ImageError, code=Code.INVALID_ARGUMENT):
    """A log of writes that is none, or not of that image."""


class CheckerFailed(ImageError):
    """What checks an image could not be run."""


class NotRaw(ImageError):
    """Its format is not raw ("format")."""


class BadSize(ImageError, code=Code.INVALID_ARGUMENT):
    """Not a usable size ("size_bytes")."""


class FileNotTaken(VirtmeshError, code=Code.FAILED_PRECONDITION):
    """A file for a copy that the kernel service does not take: nothing was moved."""


class FileFailed(VirtmeshError, code=Code.ABORTED):
    """A file of a copy that could not be read or written. "errno" is the number of its error."""


class BlockError(VirtmeshError, code=Code.INTERNAL):
    """A request the disk did not carry out."""


class BlockIOError(BlockError, reason="IO_ERROR"):
    """VIRTIO_BLK_S_IOERR, or an error of the image.

    "cause" is the name of an errno such as ENOSPC, or TRUNCATED, WRITES_LOST, REFUSED, INJECTED,
    NOT_RECORDED, INTERNAL, OTHER, or UNKNOWN when nobody could be asked; "errno" is its number, 0
    if it has none.
    """


class BlockUnsupported(BlockError, code=Code.UNIMPLEMENTED, reason="UNSUPPORTED"):
    """VIRTIO_BLK_S_UNSUPP."""


class BlockReadOnly(BlockError, code=Code.FAILED_PRECONDITION, reason="READ_ONLY"):
    """A write to a read-only disk."""


class PastEnd(BlockError, code=Code.OUT_OF_RANGE):
    """Behind the last byte of the disk."""


class Unaligned(BlockError, code=Code.INVALID_ARGUMENT):
    """A range that must be aligned to blocks."""


class WouldShrink(BlockError, code=Code.FAILED_PRECONDITION):
    """A resize would cut data off."""


class DiskChanged(BlockError, code=Code.FAILED_PRECONDITION):
    """It came back as another disk, so what was begun on it can't go on.

    "what" says what differs: serial, block_size, capacity, read_only or features.
    """


class StorageStuck(BlockError, code=Code.UNAVAILABLE):
    """The storage does not answer: what was begun goes on when it does."""


class NotRecording(BlockError, code=Code.FAILED_PRECONDITION):
    """It records no writes, so it takes no mark."""


class NotResizable(BlockError, code=Code.FAILED_PRECONDITION):
    """A block device node has the size it has."""
