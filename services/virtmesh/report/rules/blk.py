"""Rules about block devices (virtio 1.4, 5.2). Native code judges those about requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.report.rule import Rule
from virtmesh.report.rules.status import refused_for
from virtmesh_common.blk import spec as blk
from virtmesh_common.blk.spec import BlkFeature
from virtmesh_common.errors import BadValue
from virtmesh_common.virtio.status import Status

if TYPE_CHECKING:
    from virtmesh.report.dialogue import Dialogue
    from virtmesh.report.event import Access

CONDITIONS = {
    blk.SIZE_MAX: BlkFeature.VIRTIO_BLK_F_SIZE_MAX,
    blk.SEG_MAX: BlkFeature.VIRTIO_BLK_F_SEG_MAX,
    blk.CYLINDERS: BlkFeature.VIRTIO_BLK_F_GEOMETRY,
    blk.HEADS: BlkFeature.VIRTIO_BLK_F_GEOMETRY,
    blk.SECTORS: BlkFeature.VIRTIO_BLK_F_GEOMETRY,
    blk.BLK_SIZE: BlkFeature.VIRTIO_BLK_F_BLK_SIZE,
    blk.PHYSICAL_BLOCK_EXP: BlkFeature.VIRTIO_BLK_F_TOPOLOGY,
    blk.ALIGNMENT_OFFSET: BlkFeature.VIRTIO_BLK_F_TOPOLOGY,
    blk.MIN_IO_SIZE: BlkFeature.VIRTIO_BLK_F_TOPOLOGY,
    blk.OPT_IO_SIZE: BlkFeature.VIRTIO_BLK_F_TOPOLOGY,
    blk.WRITEBACK: BlkFeature.VIRTIO_BLK_F_CONFIG_WCE,
    blk.NUM_QUEUES: BlkFeature.VIRTIO_BLK_F_MQ,
    blk.MAX_DISCARD_SECTORS: BlkFeature.VIRTIO_BLK_F_DISCARD,
    blk.MAX_DISCARD_SEG: BlkFeature.VIRTIO_BLK_F_DISCARD,
    blk.DISCARD_SECTOR_ALIGNMENT: BlkFeature.VIRTIO_BLK_F_DISCARD,
    blk.MAX_WRITE_ZEROES_SECTORS: BlkFeature.VIRTIO_BLK_F_WRITE_ZEROES,
    blk.MAX_WRITE_ZEROES_SEG: BlkFeature.VIRTIO_BLK_F_WRITE_ZEROES,
    blk.WRITE_ZEROES_MAY_UNMAP: BlkFeature.VIRTIO_BLK_F_WRITE_ZEROES,
}
"""The features that optional fields of the configuration space belong to (5.2.4)."""


def is_absent(access: Access, dialogue: Dialogue) -> bool:
    """Say whether a field was read whose feature is not offered."""
    condition = CONDITIONS.get(access.register) if access.register else None
    return (
        condition is not None
        and access.error is None
        and not access.is_write
        and not dialogue.offered() & condition
    )


RULES = (
    Rule(
        "blk-optional-field",
        "2.5.1",
        "Read an optional field of the configuration space only if its feature is offered.",
        is_absent,
    ),
    Rule(
        "blk-writeback-early",
        "5.2.5.1",
        "Read `writeback` after setting FEATURES_OK.",
        lambda access, dialogue: (
            access.register is blk.WRITEBACK
            and access.error is None
            and not access.is_write
            and not dialogue.status & Status.FEATURES_OK
        ),
    ),
    Rule(
        "blk-writeback-negotiated",
        "5.2.6.1",
        "Write `writeback` only with VIRTIO_BLK_F_CONFIG_WCE.",
        lambda access, _: access.register is blk.WRITEBACK and refused_for(access, "(5.2.6.1)"),
    ),
    Rule(
        "blk-writeback-value",
        "5.2.5",
        "Write 0 or 1 to `writeback`.",
        lambda access, _: access.register is blk.WRITEBACK and isinstance(access.error, BadValue),
    ),
    Rule(
        "blk-status-missing", "5.2.6", "End a request with a device-writable byte for its status."
    ),
    Rule(
        "blk-header-missing", "5.2.6", "Begin a request with a device-readable header of 16 bytes."
    ),
    Rule(
        "blk-direction",
        "5.2.6",
        "Make the data of a request writable or readable as its type asks.",
    ),
    Rule("blk-segments", "5.2.3", "Use at most `seg_max` segments in a request, if negotiated."),
    Rule("blk-segment-size", "5.2.3", "Use segments of at most `size_max` bytes, if negotiated."),
    Rule("blk-data-length", "5.2.6.1", "Read and write whole sectors: multiples of 512 bytes."),
    Rule("blk-capacity", "5.2.6.1", "Access no sector beyond `capacity`."),
    Rule("blk-flush-sector", "5.2.6.1", "Set `sector` to 0 in a flush."),
    Rule("blk-id-length", "5.2.6.1", "Give GET_ID data of 20 bytes."),
    Rule(
        "blk-ranges-length",
        "5.2.6.1",
        "Give DISCARD and WRITE_ZEROES data of one or more whole segments of 16 bytes.",
    ),
    Rule("blk-discard-segments", "5.2.6.1", "Discard at most `max_discard_seg` segments at once."),
    Rule(
        "blk-write-zeroes-segments",
        "5.2.6.1",
        "Zero at most `max_write_zeroes_seg` segments at once.",
    ),
    Rule(
        "blk-range-sectors",
        "5.2.4",
        "Discard or zero at most `max_discard_sectors` or `max_write_zeroes_sectors` in a segment.",
    ),
    Rule("blk-discard-unmap", "5.2.6.1", "Clear `unmap` in a discard."),
    Rule("blk-range-flags", "5.2.6", "Clear the reserved flags of a segment."),
)
