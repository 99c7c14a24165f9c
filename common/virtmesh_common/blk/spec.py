"""What the text fixes for block devices: features and configuration layout (virtio 1.4, 5.2)."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from functools import partial

from virtmesh_common.registers import Access, Field, Register, named_values
from virtmesh_common.virtio.ids import VirtioId
from virtmesh_common.virtio.mmio import MMIO_CONFIG

VIRTIO_ID_BLOCK = int(VirtioId.BLOCK)
"""Device ID (5.2.1)."""
SECTOR = 512
"""Bytes in a sector, the unit of the protocol, whatever the block size (5.2.5)."""
VIRTIO_BLK_ID_BYTES = 20
"""Length of the device ID string of VIRTIO_BLK_T_GET_ID (5.2.6)."""


class BlkFeature(IntFlag):
    """Feature bits of block devices (5.2.3)."""

    VIRTIO_BLK_F_SIZE_MAX = 1 << 1
    VIRTIO_BLK_F_SEG_MAX = 1 << 2
    VIRTIO_BLK_F_GEOMETRY = 1 << 4
    VIRTIO_BLK_F_RO = 1 << 5
    VIRTIO_BLK_F_BLK_SIZE = 1 << 6
    VIRTIO_BLK_F_FLUSH = 1 << 9
    VIRTIO_BLK_F_TOPOLOGY = 1 << 10
    VIRTIO_BLK_F_CONFIG_WCE = 1 << 11
    VIRTIO_BLK_F_MQ = 1 << 12
    VIRTIO_BLK_F_DISCARD = 1 << 13
    VIRTIO_BLK_F_WRITE_ZEROES = 1 << 14
    VIRTIO_BLK_F_LIFETIME = 1 << 15
    VIRTIO_BLK_F_SECURE_ERASE = 1 << 16
    VIRTIO_BLK_F_ZONED = 1 << 17


class RequestType(IntEnum):
    """Types of requests (5.2.6)."""

    VIRTIO_BLK_T_IN = 0
    VIRTIO_BLK_T_OUT = 1
    VIRTIO_BLK_T_FLUSH = 4
    VIRTIO_BLK_T_GET_ID = 8
    VIRTIO_BLK_T_DISCARD = 11
    VIRTIO_BLK_T_WRITE_ZEROES = 13


class RequestStatus(IntEnum):
    """Values of the status byte (5.2.6)."""

    VIRTIO_BLK_S_OK = 0
    VIRTIO_BLK_S_IOERR = 1
    VIRTIO_BLK_S_UNSUPP = 2


TYPE_NAMES = dict(named_values(RequestType, "VIRTIO_BLK_T_"))
STATUS_NAMES = dict(named_values(RequestStatus, "VIRTIO_BLK_S_"))
"""Names for traces, by number."""
SECTORLESS = frozenset({int(RequestType.VIRTIO_BLK_T_FLUSH), int(RequestType.VIRTIO_BLK_T_GET_ID)})
"""Types whose `sector` has no meaning."""


def _field(  # noqa: PLR0913 - a row of the table, written as one
    name: str,
    offset: int,
    size: int,
    doc: str,
    *,
    access: Access = Access.R,
    fields: tuple[Field, ...] = (),
) -> Register:
    """Make one field of the configuration space: 64-bit fields are read in two halves (4.2.2.2)."""
    widths = (min(size, 4),)
    return Register(
        name, MMIO_CONFIG + offset, access, "5.2.4", doc, size=size, widths=widths, fields=fields
    )


def _flag(name: str, off: str, on: str) -> tuple[Field, ...]:
    """Make the fields of a byte that is 0 or 1; the others of its values are not used."""
    return (Field(name, 0, 8, values=((0, off), (1, on))),)


_le64 = partial(_field, size=8)
_le32 = partial(_field, size=4)
_le16 = partial(_field, size=2)
_u8 = partial(_field, size=1)

CAPACITY = _le64("capacity", 0, doc="Capacity in 512-byte sectors")
SIZE_MAX = _le32("size_max", 8, doc="Largest segment in bytes (SIZE_MAX)")
SEG_MAX = _le32("seg_max", 12, doc="Most segments in a request (SEG_MAX)")
CYLINDERS = _le16("geometry.cylinders", 16, doc="Cylinders (GEOMETRY)")
HEADS = _u8("geometry.heads", 18, doc="Heads (GEOMETRY)")
SECTORS = _u8("geometry.sectors", 19, doc="Sectors of a track (GEOMETRY)")
BLK_SIZE = _le32("blk_size", 20, doc="Logical block size in bytes (BLK_SIZE)")
PHYSICAL_BLOCK_EXP = _u8(
    "topology.physical_block_exp", 24, doc="Logical blocks in a physical one, log2 (TOPOLOGY)"
)
ALIGNMENT_OFFSET = _u8(
    "topology.alignment_offset", 25, doc="Offset of the first aligned logical block (TOPOLOGY)"
)
MIN_IO_SIZE = _le16("topology.min_io_size", 26, doc="Suggested smallest I/O, in blocks (TOPOLOGY)")
OPT_IO_SIZE = _le32("topology.opt_io_size", 28, doc="Suggested largest I/O, in blocks (TOPOLOGY)")
WRITEBACK = _u8(
    "writeback",
    32,
    doc="1: volatile cache (CONFIG_WCE)",
    access=Access.RW,
    fields=_flag("writeback", "write-through", "write-back"),
)
UNUSED0 = _u8("unused0", 33, doc="Padding")
NUM_QUEUES = _le16("num_queues", 34, doc="Number of queues (MQ)")
MAX_DISCARD_SECTORS = _le32(
    "max_discard_sectors", 36, doc="Most sectors of a discard segment (DISCARD)"
)
MAX_DISCARD_SEG = _le32("max_discard_seg", 40, doc="Most segments of a discard (DISCARD)")
DISCARD_SECTOR_ALIGNMENT = _le32(
    "discard_sector_alignment", 44, doc="Alignment of discards, in sectors (DISCARD)"
)
MAX_WRITE_ZEROES_SECTORS = _le32(
    "max_write_zeroes_sectors", 48, doc="Most sectors of a segment (WRITE_ZEROES)"
)
MAX_WRITE_ZEROES_SEG = _le32(
    "max_write_zeroes_seg", 52, doc="Most segments of a request (WRITE_ZEROES)"
)
WRITE_ZEROES_MAY_UNMAP = _u8(
    "write_zeroes_may_unmap",
    56,
    doc="1: a request can give storage up (WRITE_ZEROES)",
    fields=_flag("write_zeroes_may_unmap", "no", "yes"),
)
UNUSED1 = Register("unused1", MMIO_CONFIG + 57, Access.R, "5.2.4", "Padding", size=3, widths=(1,))

CONFIG: tuple[Register, ...] = (
    CAPACITY,
    SIZE_MAX,
    SEG_MAX,
    CYLINDERS,
    HEADS,
    SECTORS,
    BLK_SIZE,
    PHYSICAL_BLOCK_EXP,
    ALIGNMENT_OFFSET,
    MIN_IO_SIZE,
    OPT_IO_SIZE,
    WRITEBACK,
    UNUSED0,
    NUM_QUEUES,
    MAX_DISCARD_SECTORS,
    MAX_DISCARD_SEG,
    DISCARD_SECTOR_ALIGNMENT,
    MAX_WRITE_ZEROES_SECTORS,
    MAX_WRITE_ZEROES_SEG,
    WRITE_ZEROES_MAY_UNMAP,
    UNUSED1,
)
"""struct virtio_blk_config, as far as the offered features reach."""
