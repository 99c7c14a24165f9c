//! The rules for drivers that are judged where requests are parsed (virtio 1.4, 5.2.6). Their statements
//! and clauses are data of the device service.

use crate::request::Status;

/// A chain has no device-writable byte for the status.
pub const STATUS_MISSING: &str = "blk-status-missing";
/// A chain has fewer readable bytes than a header.
pub const HEADER_MISSING: &str = "blk-header-missing";
/// Data that the device writes is readable, or the reverse.
pub const DIRECTION: &str = "blk-direction";
/// More data segments than `seg_max`.
pub const SEGMENTS: &str = "blk-segments";
/// A data segment of more than `size_max` bytes.
pub const SEGMENT_SIZE: &str = "blk-segment-size";
/// Data of IN or OUT that is no multiple of 512 bytes.
pub const DATA_LENGTH: &str = "blk-data-length";
/// Sectors beyond `capacity`.
pub const CAPACITY: &str = "blk-capacity";
/// FLUSH with a sector other than 0.
pub const FLUSH_SECTOR: &str = "blk-flush-sector";
/// `GET_ID` with data of another length than 20 bytes.
pub const ID_LENGTH: &str = "blk-id-length";
/// Data of DISCARD or `WRITE_ZEROES` that is no multiple of a segment, or none.
pub const RANGES_LENGTH: &str = "blk-ranges-length";
/// More ranges than `max_discard_seg`.
pub const DISCARD_SEGMENTS: &str = "blk-discard-segments";
/// More ranges than `max_write_zeroes_seg`.
pub const WRITE_ZEROES_SEGMENTS: &str = "blk-write-zeroes-segments";
/// A range of more sectors than the device allows.
pub const RANGE_SECTORS: &str = "blk-range-sectors";
/// DISCARD with `unmap` set.
pub const DISCARD_UNMAP: &str = "blk-discard-unmap";
/// Reserved flags of a range are set.
pub const RANGE_FLAGS: &str = "blk-range-flags";

/// All of them.
pub const RULES: [&str; 15] = [
    STATUS_MISSING,
    HEADER_MISSING,
    DIRECTION,
    SEGMENTS,
    SEGMENT_SIZE,
    DATA_LENGTH,
    CAPACITY,
    FLUSH_SECTOR,
    ID_LENGTH,
    RANGES_LENGTH,
    DISCARD_SEGMENTS,
    WRITE_ZEROES_SEGMENTS,
    RANGE_SECTORS,
    DISCARD_UNMAP,
    RANGE_FLAGS,
];

/// Why a request is refused: its status, and the rule that the driver broke, if it broke one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub status: Status,
    pub rule: Option<&'static str>,
}

impl Refusal {
    /// Refuse a request that breaks a rule.
    pub const fn of(rule: &'static str) -> Self {
        Self {
            status: Status::IoErr,
            rule: Some(rule),
        }
    }

    /// Refuse a request that no rule forbids.
    pub const fn without_rule(status: Status) -> Self {
        Self { status, rule: None }
    }
}

/// Refuse a request that breaks a rule, if it does.
pub(crate) const fn refuse_if(broken: bool, rule: &'static str) -> Result<(), Refusal> {
    if broken {
        Err(Refusal::of(rule))
    } else {
        Ok(())
    }
}
