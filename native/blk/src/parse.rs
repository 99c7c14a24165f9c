//! Parses a chain into a request, or into the status that refuses it.
//!
//! A request may be spread over descriptors in any way (virtio 1.4, 2.7.4.1): its header is the first
//! 16 readable bytes, its status byte is the last writable byte, and its data is what lies between.

use virtmesh_ring::{Chain, GuestRam, MemoryError};

use crate::buffer::{Buffers, Shape};
use crate::header::{Header, after_header, before_status, read_header};
use crate::request::{Operation, Range, Ranges, Request, RequestType, SECTOR_SIZE, Status};
use crate::rules::{self, Refusal, refuse_if};
use crate::spec::{
    VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_SIZE_MAX,
    VIRTIO_BLK_F_WRITE_ZEROES, VIRTIO_BLK_ID_BYTES, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
};

/// Bytes of `le64 sector, le32 num_sectors, le32 flags` (5.2.6).
const SEGMENT_SIZE: usize = 16;

/// The limits that requests are validated against: negotiated features and the state of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLimits {
    /// Negotiated feature bits.
    pub features: u64,
    /// Capacity in sectors.
    pub capacity: u64,
    /// True while writes are refused.
    pub read_only: bool,
    /// Most data segments of a request.
    pub seg_max: u32,
    /// Most bytes of a data segment.
    pub size_max: u32,
    /// Most sectors and segments of a DISCARD.
    pub discard: RangeLimits,
    /// Most sectors and segments of a `WRITE_ZEROES`.
    pub write_zeroes: RangeLimits,
}

/// Limits of a DISCARD or `WRITE_ZEROES` (5.2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RangeLimits {
    /// Most sectors of one segment.
    pub max_sectors: u32,
    /// Most segments of one request.
    pub max_seg: u32,
}

/// A chain that is not a request: no status can be written, and the device needs a reset.
#[derive(Debug, thiserror::Error)]
pub enum MalformedChain {
    /// The chain has no device-writable byte for the status.
    #[error("request {head} has no status byte")]
    NoStatus {
        /// The chain.
        head: u16,
    },
    /// A part lies outside guest memory.
    #[error("request {head}: {cause}")]
    OutsideMemory {
        /// The chain.
        head: u16,
        /// Which part.
        cause: MemoryError,
    },
}

impl MalformedChain {
    /// Name of the rule that the driver broke.
    #[must_use]
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::NoStatus { .. } => rules::STATUS_MISSING,
            Self::OutsideMemory { .. } => "buffer-outside-memory",
        }
    }
}

impl Request {
    /// Parse a chain.
    ///
    /// Every chain with a status byte becomes a request, perhaps one to refuse.
    ///
    /// # Errors
    /// If no status can be written.
    #[inline]
    pub fn parse(
        chain: &Chain,
        memory: &GuestRam,
        limits: &RequestLimits,
    ) -> Result<Self, MalformedChain> {
        let head = chain.head;
        let outside = |cause| MalformedChain::OutsideMemory { head, cause };

        let (written, status_address) =
            before_status(&chain.writable).ok_or(MalformedChain::NoStatus { head })?;
        let header = read_header(&chain.readable, memory).map_err(outside)?;
        let buffers = Buffers::new(memory, status_address).map_err(outside)?;
        // It is filled in where it is: a request is large, and this is done for each.
        let mut request = Self {
            head,
            request_type: RequestType::Other,
            operation: Operation::Refuse(Status::IoErr),
            buffers,
            broken_rule: Some(rules::HEADER_MISSING),
            submitted: 0,
            look: None,
            status_address,
        };
        let readable = after_header(&chain.readable);
        let shapes = request.buffers.add(readable, written).map_err(outside)?;
        if let Some(header) = header {
            request.request_type = header.request_type;
            request.broken_rule = None;
            request.validate(&header, &shapes, limits);
        }
        Ok(request)
    }

    /// Set the operation, or the refusal, and the rule that is broken, if one is.
    fn validate(&mut self, header: &Header, shapes: &[Shape; 2], limits: &RequestLimits) {
        let [readable, writable] = shapes;
        let refused = match header.request_type {
            RequestType::In => check_read(header, readable, writable, limits)
                .map(|offset| self.operation = Operation::Read { offset }),
            RequestType::Out => check_write(header, readable, writable, limits)
                .map(|offset| self.operation = Operation::Write { offset }),
            _ => validate(header, &self.buffers, shapes, limits).map(|(operation, broken)| {
                self.operation = operation;
                self.broken_rule = broken;
            }),
        };
        if let Err(refusal) = refused {
            self.operation = Operation::Refuse(refusal.status);
            self.broken_rule = refusal.rule;
        }
    }
}

/// Check an IN and return where it starts on the disk, in bytes.
fn check_read(
    header: &Header,
    readable: &Shape,
    writable: &Shape,
    limits: &RequestLimits,
) -> Result<u64, Refusal> {
    refuse_if(readable.length > 0, rules::DIRECTION)?;
    check_data(header.sector, writable, limits)
}

/// Check an OUT and return where it starts on the disk, in bytes.
fn check_write(
    header: &Header,
    readable: &Shape,
    writable: &Shape,
    limits: &RequestLimits,
) -> Result<u64, Refusal> {
    // "A device MUST set the status byte to VIRTIO_BLK_S_IOERR for a write request if
    // VIRTIO_BLK_F_RO is offered, and MUST NOT write any data" (5.2.6.2).
    writes_allowed(limits)?;
    refuse_if(writable.length > 0, rules::DIRECTION)?;
    check_data(header.sector, readable, limits)
}

fn writes_allowed(limits: &RequestLimits) -> Result<(), Refusal> {
    if limits.read_only {
        Err(Refusal::without_rule(Status::IoErr))
    } else {
        Ok(())
    }
}

/// Validate a request that moves no data of the disk. Returns its operation, with a rule that it breaks all
/// the same, or the refusal.
fn validate(
    header: &Header,
    buffers: &Buffers,
    [readable, writable]: &[Shape; 2],
    limits: &RequestLimits,
) -> Result<(Operation, Option<&'static str>), Refusal> {
    let negotiated = |feature| match limits.features & feature {
        0 => Err(Refusal::without_rule(Status::Unsupp)),
        _ => Ok(()),
    };
    let mut broken = None;
    let operation = match header.request_type {
        RequestType::Flush => {
            // Data is ignored: a driver SHOULD NOT include any (5.2.6.1).
            negotiated(VIRTIO_BLK_F_FLUSH)?;
            // The sector has no meaning, so the flush is executed (5.2.6.1).
            broken = (header.sector != 0).then_some(rules::FLUSH_SECTOR);
            Operation::Flush
        }
        RequestType::GetId => {
            refuse_if(readable.length > 0, rules::DIRECTION)?;
            let wrong = writable.length != VIRTIO_BLK_ID_BYTES as u64;
            refuse_if(wrong, rules::ID_LENGTH)?;
            Operation::Identify
        }
        RequestType::Discard => {
            negotiated(VIRTIO_BLK_F_DISCARD)?;
            // "Unmap MUST be zero for discard commands", else UNSUPP (5.2.6.1, 5.2.6.2).
            let ranges = check_ranges(buffers, limits, header.request_type)?;
            writes_allowed(limits)?;
            refuse_if(writable.length > 0, rules::DIRECTION)?;
            Operation::Discard(ranges)
        }
        RequestType::WriteZeroes => {
            negotiated(VIRTIO_BLK_F_WRITE_ZEROES)?;
            let ranges = check_ranges(buffers, limits, header.request_type)?;
            writes_allowed(limits)?;
            refuse_if(writable.length > 0, rules::DIRECTION)?;
            Operation::WriteZeroes(ranges)
        }
        RequestType::In | RequestType::Out | RequestType::Other => {
            return Err(Refusal::without_rule(Status::Unsupp));
        }
    };
    Ok((operation, broken))
}

/// Check the data of IN or OUT and return where it starts on the disk, in bytes.
fn check_data(sector: u64, data: &Shape, limits: &RequestLimits) -> Result<u64, Refusal> {
    // A driver that did not accept a limit does not know it.
    let negotiated = |feature| limits.features & feature != 0;
    let too_many = data.segments > limits.seg_max as usize;
    refuse_if(
        negotiated(VIRTIO_BLK_F_SEG_MAX) && too_many,
        rules::SEGMENTS,
    )?;
    let too_long = data.longest > limits.size_max;
    refuse_if(
        negotiated(VIRTIO_BLK_F_SIZE_MAX) && too_long,
        rules::SEGMENT_SIZE,
    )?;
    refuse_if(!data.length.is_multiple_of(SECTOR_SIZE), rules::DATA_LENGTH)?;
    check_sectors(sector, data.length / SECTOR_SIZE, limits)
}

/// Check that sectors are inside the capacity and return the offset of the first, in bytes.
fn check_sectors(sector: u64, count: u64, limits: &RequestLimits) -> Result<u64, Refusal> {
    let left = limits.capacity.checked_sub(sector);
    refuse_if(left.is_none_or(|left| count > left), rules::CAPACITY)?;
    // No overflow: sector <= capacity, and the capacity is a file size divided by 512.
    Ok(sector * SECTOR_SIZE)
}

/// Copy out and check the segments of a DISCARD or `WRITE_ZEROES`.
fn check_ranges(
    buffers: &Buffers,
    limits: &RequestLimits,
    request_type: RequestType,
) -> Result<Ranges, Refusal> {
    let is_discard = request_type == RequestType::Discard;
    let (range_limits, known_flags, too_many) = if is_discard {
        (limits.discard, 0, rules::DISCARD_SEGMENTS)
    } else {
        (
            limits.write_zeroes,
            VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
            rules::WRITE_ZEROES_SEGMENTS,
        )
    };
    let data = buffers.readable();
    let count = data.len() / SEGMENT_SIZE as u64;
    refuse_if(count == 0, rules::RANGES_LENGTH)?;
    refuse_if(count > u64::from(range_limits.max_seg), too_many)?;
    refuse_if(
        !data.len().is_multiple_of(SEGMENT_SIZE as u64),
        rules::RANGES_LENGTH,
    )?;
    let copy = data.to_vec();
    let segments = || {
        copy.as_chunks::<SEGMENT_SIZE>()
            .0
            .iter()
            .map(RangeSegment::decode)
    };

    // Unknown flags are checked first: for them the specification requires UNSUPP (5.2.6.2).
    let unknown = segments().find(|segment| segment.flags & !known_flags != 0);
    if let Some(segment) = unknown {
        let unmap_alone = segment.flags == VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
        let rule = if unmap_alone {
            rules::DISCARD_UNMAP
        } else {
            rules::RANGE_FLAGS
        };
        return Err(Refusal {
            status: Status::Unsupp,
            rule: Some(rule),
        });
    }
    segments()
        .map(|segment| {
            let too_long = segment.num_sectors > range_limits.max_sectors;
            refuse_if(too_long, rules::RANGE_SECTORS)?;
            let count = u64::from(segment.num_sectors);
            let offset = check_sectors(segment.sector, count, limits)?;
            let unmap = segment.flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP != 0;
            Ok(Range {
                offset,
                length: count * SECTOR_SIZE,
                unmap,
            })
        })
        .collect()
}

/// `struct virtio_blk_discard_write_zeroes`, decoded (5.2.6).
struct RangeSegment {
    sector: u64,
    num_sectors: u32,
    flags: u32,
}

impl RangeSegment {
    fn decode(bytes: &[u8; SEGMENT_SIZE]) -> Self {
        let [
            s0,
            s1,
            s2,
            s3,
            s4,
            s5,
            s6,
            s7,
            n0,
            n1,
            n2,
            n3,
            f0,
            f1,
            f2,
            f3,
        ] = *bytes;
        Self {
            sector: u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
            num_sectors: u32::from_le_bytes([n0, n1, n2, n3]),
            flags: u32::from_le_bytes([f0, f1, f2, f3]),
        }
    }
}
