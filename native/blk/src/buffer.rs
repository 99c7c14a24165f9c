//! The data buffers of a request, translated to addresses of this process for system calls.

use virtmesh_ring::{GuestRam, MemoryError, Segment, Segments};

/// Buffers in guest memory, in order. Keeps the memory mapped.
///
/// The driver may change the bytes at any time, so they are only copied, never parsed in place.
#[derive(Debug)]
pub struct Buffer {
    segments: Segments,
    pieces: Vec<libc::iovec>,
    length: u64,
    memory: GuestRam,
}

// SAFETY: the pointers are into the mapping that `memory` keeps, which belongs to no thread.
unsafe impl Send for Buffer {}
// SAFETY: as for Send; a shared Buffer hands out pointers only, and the bytes behind them are shared
// with another process anyway.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// Translate segments; empty ones are left out.
    ///
    /// # Errors
    /// When one is not inside guest memory.
    pub fn new(memory: &GuestRam, mut segments: Segments) -> Result<Self, MemoryError> {
        segments.retain(|segment| segment.len > 0);
        let mut pieces = Vec::with_capacity(segments.len());
        for segment in &segments {
            memory.iovecs(segment.addr, u64::from(segment.len), &mut pieces)?;
        }
        // No overflow: a chain has at most 2^32 bytes.
        let length = segments.iter().map(|segment| u64::from(segment.len)).sum();
        Ok(Self {
            segments,
            pieces,
            length,
            memory: memory.clone(),
        })
    }

    /// Total length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.length
    }

    /// True when there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The segments of the chain, without empty ones. A part has none.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The pieces, valid while the buffer lives.
    #[must_use]
    pub fn pieces(&self) -> &[libc::iovec] {
        &self.pieces
    }

    /// The part of `length` bytes at `start`; None if that is all of it.
    #[must_use]
    pub fn part(&self, start: u64, length: u64) -> Option<Self> {
        if start == 0 && length >= self.length {
            return None;
        }
        let (mut skipped, mut left) = (start, length);
        let mut pieces = Vec::new();
        for piece in &self.pieces {
            let size = piece.iov_len as u64;
            let before = skipped.min(size);
            let here = left.min(size - before);
            skipped -= before;
            left -= here;
            if here > 0 {
                // Lossless: both are at most `iov_len`.
                #[expect(clippy::cast_possible_truncation, reason = "at most iov_len")]
                let (before, here) = (before as usize, here as usize);
                pieces.push(libc::iovec {
                    // Inside the piece: `before` is less than its length.
                    iov_base: piece.iov_base.wrapping_byte_add(before),
                    iov_len: here,
                });
            }
        }
        Some(Self {
            segments: Segments::new(),
            pieces,
            length: length - left,
            memory: self.memory.clone(),
        })
    }

    /// Copy all of it out.
    ///
    /// # Errors
    /// None in practice: its bounds were checked when it was made.
    pub fn to_vec(&self) -> Result<Vec<u8>, MemoryError> {
        let mut copy = Vec::new();
        for segment in &self.segments {
            let start = copy.len();
            copy.resize(start + segment.len as usize, 0);
            self.memory.read(segment.addr, &mut copy[start..])?;
        }
        Ok(copy)
    }

    /// Copy bytes in, from the start. Bytes that do not fit are left out.
    ///
    /// # Errors
    /// Those of [`Buffer::to_vec`].
    pub fn fill(&self, bytes: &[u8]) -> Result<(), MemoryError> {
        let mut rest = bytes;
        for segment in &self.segments {
            let (now, later) = rest.split_at(rest.len().min(segment.len as usize));
            self.memory.write(segment.addr, now)?;
            rest = later;
        }
        Ok(())
    }
}
