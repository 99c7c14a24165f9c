//! One request: its operation, its buffers, and its completion.
//!
//! A request is `struct virtio_blk_req` (virtio 1.4, 5.2.6). It is parsed whole from a chain
//! ([`Request::parse`]); its header is never read from guest memory again.

use crate::buffer::{Buffer, Buffers};
use crate::image::Look;
use crate::spec::{
    VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_DISCARD,
    VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT,
    VIRTIO_BLK_T_WRITE_ZEROES,
};

/// Bytes of a sector: the unit of the protocol, whatever the block size (5.2.4).
pub const SECTOR_SIZE: u64 = 512;
/// The type of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestType {
    /// [`VIRTIO_BLK_T_IN`]
    In,
    /// [`VIRTIO_BLK_T_OUT`]
    Out,
    /// [`VIRTIO_BLK_T_FLUSH`]
    Flush,
    /// [`VIRTIO_BLK_T_GET_ID`]
    GetId,
    /// [`VIRTIO_BLK_T_DISCARD`]
    Discard,
    /// [`VIRTIO_BLK_T_WRITE_ZEROES`]
    WriteZeroes,
    /// Any other.
    Other,
}

impl RequestType {
    /// All types, in ascending order of their number.
    pub const ALL: [Self; 7] = [
        Self::In,
        Self::Out,
        Self::Flush,
        Self::GetId,
        Self::Discard,
        Self::WriteZeroes,
        Self::Other,
    ];

    /// Name in the specification, without `VIRTIO_BLK_T_`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::In => "IN",
            Self::Out => "OUT",
            Self::Flush => "FLUSH",
            Self::GetId => "GET_ID",
            Self::Discard => "DISCARD",
            Self::WriteZeroes => "WRITE_ZEROES",
            Self::Other => "OTHER",
        }
    }

    /// Number in the specification; 127 for [`RequestType::Other`].
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the largest type is 13")]
    pub const fn number(self) -> u8 {
        let number = match self {
            Self::In => VIRTIO_BLK_T_IN,
            Self::Out => VIRTIO_BLK_T_OUT,
            Self::Flush => VIRTIO_BLK_T_FLUSH,
            Self::GetId => VIRTIO_BLK_T_GET_ID,
            Self::Discard => VIRTIO_BLK_T_DISCARD,
            Self::WriteZeroes => VIRTIO_BLK_T_WRITE_ZEROES,
            Self::Other => 127,
        };
        number as u8
    }

    pub(crate) const fn from_number(number: u32) -> Self {
        match number {
            VIRTIO_BLK_T_IN => Self::In,
            VIRTIO_BLK_T_OUT => Self::Out,
            VIRTIO_BLK_T_FLUSH => Self::Flush,
            VIRTIO_BLK_T_GET_ID => Self::GetId,
            VIRTIO_BLK_T_DISCARD => Self::Discard,
            VIRTIO_BLK_T_WRITE_ZEROES => Self::WriteZeroes,
            _ => Self::Other,
        }
    }
}

/// The status byte (5.2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// `VIRTIO_BLK_S_OK`
    Ok = VIRTIO_BLK_S_OK,
    /// `VIRTIO_BLK_S_IOERR`: an error of the device or the driver.
    IoErr = VIRTIO_BLK_S_IOERR,
    /// `VIRTIO_BLK_S_UNSUPP`: the device does not support the request.
    Unsupp = VIRTIO_BLK_S_UNSUPP,
}

/// A range to discard or to zero, in bytes, inside the capacity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
    /// True if the storage may be deallocated (`WRITE_ZEROES`).
    pub unmap: bool,
}

/// Ranges of one request, usually one. On the heap: they are rare, and requests are to be small.
pub type Ranges = Box<[Range]>;

/// The operation to execute. Offsets are in bytes, and every range was inside the capacity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Fill the writable data from the disk.
    Read {
        /// First byte on the disk.
        offset: u64,
    },
    /// Write the readable data to the disk.
    Write {
        /// First byte on the disk.
        offset: u64,
    },
    /// Make completed writes durable.
    Flush,
    /// Fill the writable data with the device ID string.
    Identify,
    /// Discard ranges.
    Discard(Ranges),
    /// Fill ranges with zeroes.
    WriteZeroes(Ranges),
    /// Execute nothing, and complete with this status.
    Refuse(Status),
}

/// A parsed request.
#[derive(Debug)]
pub struct Request {
    /// The head of its chain.
    pub head: u16,
    /// Its type.
    pub request_type: RequestType,
    /// The operation to execute.
    pub operation: Operation,
    pub(crate) buffers: Buffers,
    /// The rule that the driver broke with it (`rules`); the request may be executed all the same.
    pub broken_rule: Option<&'static str>,
    /// When it was taken from its queue, by the clock of the write log; 0 without one.
    pub submitted: u64,
    /// The look at where the image ends that it shares with writes that are executed in line with it.
    pub(crate) look: Option<Look>,
    pub(crate) status_address: u64,
}

/// A used chain: its head, and how many bytes were written to it from its first writable byte on.
pub type Used = (u16, u32);

impl Request {
    /// Data for the device to read.
    #[must_use]
    pub fn readable(&self) -> Buffer<'_> {
        self.buffers.readable()
    }

    /// Data for the device to write.
    #[must_use]
    pub fn writable(&self) -> Buffer<'_> {
        self.buffers.writable()
    }

    /// True if the chain was too short for a header.
    #[must_use]
    pub fn lacks_header(&self) -> bool {
        self.request_type == RequestType::Other
            && self.operation == Operation::Refuse(Status::IoErr)
    }

    /// First sector of the (first) range; 0 where there is none.
    #[must_use]
    pub fn sector(&self) -> u64 {
        let offset = match &self.operation {
            Operation::Read { offset } | Operation::Write { offset } => *offset,
            Operation::Discard(ranges) | Operation::WriteZeroes(ranges) => {
                ranges.first().map_or(0, |range| range.offset)
            }
            Operation::Flush | Operation::Identify | Operation::Refuse(_) => 0,
        };
        offset / SECTOR_SIZE
    }

    /// Bytes that count as transferred, discarded or zeroed.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match &self.operation {
            Operation::Read { .. } | Operation::Identify => self.writable().len(),
            Operation::Write { .. } => self.readable().len(),
            Operation::Discard(ranges) | Operation::WriteZeroes(ranges) => {
                ranges.iter().map(|range| range.length).sum()
            }
            Operation::Flush | Operation::Refuse(_) => 0,
        }
    }

    /// True for an operation that changes the disk, if it succeeds.
    #[must_use]
    pub fn changes_the_disk(&self) -> bool {
        matches!(
            self.operation,
            Operation::Write { .. } | Operation::Discard(_) | Operation::WriteZeroes(_)
        )
    }

    /// Write the status into the chain. Returns the used element to push.
    #[must_use]
    pub fn complete(&self, status: Status) -> Used {
        self.buffers.write_status(status as u8);
        // A used length counts from the first writable byte on, and the status byte is the last. Where
        // the data before it was not filled, no length is true but 0: "len is permitted to be an
        // underestimate" (2.7.8.2). Filling it would let a driver make the device work for nothing.
        let filled = status == Status::Ok
            && matches!(self.operation, Operation::Read { .. } | Operation::Identify);
        if !filled && !self.writable().is_empty() {
            return (self.head, 0);
        }
        // A chain of 2^32 bytes is allowed, and its length does not fit; "at least" holds then too.
        (
            self.head,
            u32::try_from(self.writable().len() + 1).unwrap_or(u32::MAX),
        )
    }
}
