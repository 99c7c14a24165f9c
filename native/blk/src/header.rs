//! Where the header of a request, its data and its status byte lie in a chain (virtio 1.4, 5.2.6).

use virtmesh_ring::{GuestRam, MemoryError, Segment};

use crate::request::RequestType;

/// Bytes of `le32 type, le32 reserved, le64 sector` (5.2.6).
const HEADER_SIZE: u32 = 16;

/// The header, decoded (5.2.6). `reserved` is ignored: it once was the priority.
pub(crate) struct Header {
    pub(crate) request_type: RequestType,
    pub(crate) sector: u64,
}

/// What lies before the last byte, which is the status, and its address. None if there is no byte.
pub(crate) fn before_status(segments: &[Segment]) -> Option<(impl Iterator<Item = Segment>, u64)> {
    let last = segments.iter().rposition(|segment| segment.len > 0)?;
    let Segment { addr, len } = segments[last];
    let rest = Segment { addr, len: len - 1 };
    let before = segments[..last].iter().copied().chain(Some(rest));
    // No overflow: the ring checked that the segment ends inside guest memory.
    Some((before, addr + u64::from(len - 1)))
}

/// What lies after the header. Empty segments may be among it.
pub(crate) fn after_header(segments: &[Segment]) -> impl Iterator<Item = Segment> {
    let mut skipped = HEADER_SIZE;
    segments.iter().map(move |&Segment { addr, len }| {
        let count = skipped.min(len);
        skipped -= count;
        Segment {
            // No overflow: the ring checked that the segment ends inside guest memory.
            addr: addr + u64::from(count),
            len: len - count,
        }
    })
}

/// Copy out the header. None if there are fewer readable bytes.
pub(crate) fn read_header(
    segments: &[Segment],
    memory: &GuestRam,
) -> Result<Option<Header>, MemoryError> {
    let words = match segments.first() {
        Some(first) if first.len >= HEADER_SIZE => memory.read_words(first.addr),
        _ => None,
    };
    let words = match words {
        Some(words) => Some(words),
        None => gather_header(segments, memory)?,
    };
    Ok(words.map(|[start, sector]| Header {
        #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
        request_type: RequestType::from_number(start as u32),
        sector,
    }))
}

/// Copy out a header that is spread over segments.
#[cold]
fn gather_header(segments: &[Segment], memory: &GuestRam) -> Result<Option<[u64; 2]>, MemoryError> {
    let mut bytes = [0_u8; HEADER_SIZE as usize];
    let mut rest = &mut bytes[..];
    for segment in segments {
        let (now, later) = rest.split_at_mut(rest.len().min(segment.len as usize));
        memory.read(segment.addr, now)?;
        rest = later;
    }
    let whole = rest.is_empty();
    let [s0, s1, s2, s3, s4, s5, s6, s7, ..] = bytes;
    let [.., e0, e1, e2, e3, e4, e5, e6, e7] = bytes;
    let start = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
    let end = u64::from_le_bytes([e0, e1, e2, e3, e4, e5, e6, e7]);
    Ok(whole.then_some([start, end]))
}
