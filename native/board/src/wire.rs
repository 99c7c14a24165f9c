//! The packets of a register channel, little-endian.
//!
//! | request | | answer | |
//! |---|---|---|---|
//! | 0 | u32 tag | 0 | u32 tag of the request |
//! | 4 | u32 count | 4 | u32 count of executed accesses |
//! | 8 | count entries of 16 bytes | 8 | u32 flags: bit 0 line asserted, bit 1 an access was refused, bit 2 a rule was broken |
//! | | u32 offset, u8 op, u8\[3\] 0, u64 value | 12 | u32 pending causes |
//! | | | 16 | u64 line sequence |
//! | | | 24 | count values, u64; then reason, 0, message, if one was refused |

/// Most accesses of a request.
pub const COUNT_MAX: usize = 4000;
/// Added to the width of an access that writes.
pub const OP_WRITE: u8 = 0x80;
/// Largest answer in bytes: all values, and a text.
pub const ANSWER_MAX: usize = HEADER + 8 * COUNT_MAX + 4096;

const HEADER: usize = 24;
const FLAG_LINE: u32 = 1 << 0;
const FLAG_REFUSED: u32 = 1 << 1;
const FLAG_BROKE_RULE: u32 = 1 << 2;

/// One access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    /// Offset in the register window, in bytes.
    pub offset: u32,
    /// Width in bytes, with [`OP_WRITE`] added for a write.
    pub op: u8,
    /// What is written; 0 for reads.
    pub value: u64,
}

impl Operation {
    /// A read of `width` bytes.
    #[must_use]
    pub fn read(offset: u32, width: u8) -> Self {
        Self {
            offset,
            op: width,
            value: 0,
        }
    }

    /// A write of `width` bytes.
    #[must_use]
    pub fn write(offset: u32, width: u8, value: u64) -> Self {
        Self {
            offset,
            op: width | OP_WRITE,
            value,
        }
    }

    /// Width in bytes.
    #[must_use]
    pub fn width(&self) -> u8 {
        self.op & !OP_WRITE
    }

    /// Say whether it is a write.
    #[must_use]
    pub fn is_write(&self) -> bool {
        self.op & OP_WRITE != 0
    }
}

/// The interrupt line as of the end of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Line {
    /// It is up.
    pub asserted: bool,
    /// Pending causes: `InterruptStatus`, or those of IIR.
    pub causes: u32,
    /// Counts the times that the line rose, and the interrupts of a virtio device.
    pub sequence: u64,
}

/// The answer of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<'packet> {
    /// The line.
    pub line: Line,
    /// The access after the executed ones was refused.
    pub refusal: Option<Refusal>,
    /// The driver has broken a rule for the first time since the answer before.
    pub broke_rule: bool,
    values: &'packet [u8],
}

/// Why an access was refused, as the device says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Such as `"MISALIGNED"`.
    pub reason: String,
    /// In words.
    pub message: String,
}

/// How an answer breaks the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It is longer than any answer.
    #[error("it has {0} bytes, more than {ANSWER_MAX}")]
    TooLong(usize),
    /// It is no header, or does not end where its values do.
    #[error("it has {actual} bytes, not {expected}")]
    Length {
        /// Bytes that it has.
        actual: usize,
        /// Bytes that it should have.
        expected: usize,
    },
    /// It answers another request.
    #[error("it has the tag {actual}, not {expected}")]
    Tag {
        /// The tag that it has.
        actual: u32,
        /// The tag of the request.
        expected: u32,
    },
    /// Too many accesses were executed, or too few without a refusal.
    #[error("{executed} of {requested} accesses were executed")]
    Count {
        /// What the answer says.
        executed: usize,
        /// Accesses of the request.
        requested: usize,
    },
}

impl Answer<'_> {
    /// Number of accesses that were executed.
    #[must_use]
    pub fn executed(&self) -> usize {
        self.values.len() / 8
    }

    /// The value of the first access; `None` if it was refused.
    #[must_use]
    pub fn first(&self) -> Option<u64> {
        self.value(0)
    }

    /// The value of an access; `None` if it was not executed.
    #[must_use]
    pub fn value(&self, index: usize) -> Option<u64> {
        let bytes = self.values.get(8 * index..)?.first_chunk()?;
        Some(u64::from_le_bytes(*bytes))
    }
}

/// Write a request to a buffer, which is cleared first.
pub(crate) fn encode_request(tag: u32, operations: &[Operation], buffer: &mut Vec<u8>) {
    debug_assert!(operations.len() <= COUNT_MAX, "the caller has fewer");
    let count = u32::try_from(operations.len()).unwrap_or(u32::MAX);
    buffer.clear();
    buffer.extend_from_slice(&tag.to_le_bytes());
    buffer.extend_from_slice(&count.to_le_bytes());
    for operation in operations {
        buffer.extend_from_slice(&operation.offset.to_le_bytes());
        buffer.extend_from_slice(&[operation.op, 0, 0, 0]);
        buffer.extend_from_slice(&operation.value.to_le_bytes());
    }
}

/// Check and decode the answer of the request with this tag and number of accesses.
pub(crate) fn decode_answer(
    packet: &[u8],
    tag: u32,
    requested: usize,
) -> Result<Answer<'_>, Malformed> {
    let actual = packet.len();
    let short = |expected| Malformed::Length { actual, expected };
    let header: &[u8; HEADER] = packet.first_chunk().ok_or(short(HEADER))?;
    let word = |at: usize| {
        let bytes = [header[at], header[at + 1], header[at + 2], header[at + 3]];
        u32::from_le_bytes(bytes)
    };
    if word(0) != tag {
        let (actual, expected) = (word(0), tag);
        return Err(Malformed::Tag { actual, expected });
    }
    let (executed, refused) = (word(4) as usize, word(8) & FLAG_REFUSED != 0);
    if executed > requested || refused == (executed == requested) {
        return Err(Malformed::Count {
            executed,
            requested,
        });
    }
    // No overflow: executed is at most COUNT_MAX.
    let end = HEADER + 8 * executed;
    let values = packet.get(HEADER..end).ok_or(short(end))?;
    if !refused && actual != end {
        return Err(short(end));
    }
    Ok(Answer {
        line: Line {
            asserted: word(8) & FLAG_LINE != 0,
            causes: word(12),
            sequence: u64::from(word(16)) | u64::from(word(20)) << 32,
        },
        broke_rule: word(8) & FLAG_BROKE_RULE != 0,
        refusal: refused.then(|| Refusal::decode(&packet[end..])),
        values,
    })
}

impl Refusal {
    /// Decode reason, 0, message. Bytes that are no UTF-8 are replaced: it is text for people.
    fn decode(text: &[u8]) -> Self {
        let mut parts = text.splitn(2, |byte| *byte == 0);
        let mut next = || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
        Self {
            reason: next(),
            message: next(),
        }
    }
}
