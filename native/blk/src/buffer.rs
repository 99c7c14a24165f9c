//! The data buffers of a request, translated to addresses of this process for system calls.

use std::borrow::Cow;
use std::fmt;
use std::slice;
use std::sync::atomic::{AtomicU8, Ordering};

use smallvec::SmallVec;
use virtmesh_ring::{GuestRam, MemoryError, Segment};

/// The buffers of a chain: data for the device to read, data for it to write, and the status byte.
///
/// They keep the memory mapped. One allocation and one count of references would cost more than the rest of
/// a request's parsing, so pieces are kept inline and both directions share them.
pub struct Buffers {
    memory: GuestRam,
    /// Readable ones, then writable ones.
    pieces: SmallVec<[libc::iovec; 2]>,
    /// How many of them are readable.
    readable_pieces: usize,
    readable: u64,
    writable: u64,
    status: *mut u8,
}

// SAFETY: the pointers are into the mapping that `memory` keeps, which belongs to no thread.
unsafe impl Send for Buffers {}
// SAFETY: as for Send; shared buffers hand out pointers only, and the bytes behind them are shared
// with another process anyway.
unsafe impl Sync for Buffers {}

/// What requests are validated by, of the data in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shape {
    /// Segments that are not empty.
    pub segments: usize,
    /// Bytes of the longest one.
    pub longest: u32,
    /// Bytes of all.
    pub length: u64,
}

impl Buffers {
    /// No data yet, and the status byte at an address.
    ///
    /// # Errors
    /// When it is not inside guest memory.
    #[inline]
    pub fn new(memory: &GuestRam, status_address: u64) -> Result<Self, MemoryError> {
        let outside = MemoryError::OutOfBounds {
            address: status_address,
            length: 1,
        };
        let status = memory.iovec(status_address, 1).ok_or(outside)?;
        Ok(Self {
            memory: memory.clone(),
            pieces: SmallVec::new(),
            readable_pieces: 0,
            readable: 0,
            writable: 0,
            status: status.iov_base.cast(),
        })
    }

    /// Translate the segments of both directions, once; empty ones are left out. Returns the shapes of the readable
    /// and of the writable data.
    ///
    /// # Errors
    /// When one is not inside guest memory.
    #[inline]
    pub fn add(
        &mut self,
        readable: impl Iterator<Item = Segment>,
        writable: impl Iterator<Item = Segment>,
    ) -> Result<[Shape; 2], MemoryError> {
        let readable = translate(&self.memory, readable, &mut self.pieces)?;
        self.readable_pieces = self.pieces.len();
        let writable = translate(&self.memory, writable, &mut self.pieces)?;
        self.readable = readable.length;
        self.writable = writable.length;
        Ok([readable, writable])
    }

    /// Data for the device to read.
    #[must_use]
    #[inline]
    pub fn readable(&self) -> Buffer<'_> {
        Buffer {
            pieces: Cow::Borrowed(&self.pieces[..self.readable_pieces]),
            length: self.readable,
        }
    }

    /// Data for the device to write.
    #[must_use]
    #[inline]
    pub fn writable(&self) -> Buffer<'_> {
        Buffer {
            pieces: Cow::Borrowed(&self.pieces[self.readable_pieces..]),
            length: self.writable,
        }
    }

    /// Write the status byte.
    pub(crate) fn write_status(&self, status: u8) {
        // SAFETY: the byte was found inside guest memory, which is mapped while `self` lives; all accesses to
        // it in this process are atomic or volatile. Publishing the chain orders this store.
        unsafe { AtomicU8::from_ptr(self.status) }.store(status, Ordering::Relaxed);
    }
}

impl fmt::Debug for Buffers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Buffers")
            .field("readable", &self.readable)
            .field("writable", &self.writable)
            .finish_non_exhaustive()
    }
}

/// Translate segments and append their pieces.
#[inline]
fn translate(
    memory: &GuestRam,
    segments: impl Iterator<Item = Segment>,
    pieces: &mut SmallVec<[libc::iovec; 2]>,
) -> Result<Shape, MemoryError> {
    let mut shape = Shape::default();
    for Segment { addr, len } in segments {
        if len == 0 {
            continue;
        }
        shape.segments += 1;
        shape.longest = shape.longest.max(len);
        // No overflow: a chain has at most 2^32 bytes.
        shape.length += u64::from(len);
        match memory.iovec(addr, len.into()) {
            Some(piece) => pieces.push(piece),
            // It spans regions, or is outside of them.
            None => memory.iovecs(addr, len.into(), pieces)?,
        }
    }
    Ok(shape)
}

/// Data of a chain in one direction, in order. What it was made of keeps its memory mapped.
///
/// The driver may change the bytes at any time, so they are only copied, never parsed in place.
#[derive(Debug, Clone)]
pub struct Buffer<'a> {
    pieces: Cow<'a, [libc::iovec]>,
    length: u64,
}

impl Buffer<'_> {
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
        for piece in &*self.pieces {
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
            pieces: Cow::Owned(pieces),
            length: length - left,
        })
    }

    /// Copy all of it out. For what is short: a byte at a time.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        self.bytes()
            .map(|byte| byte.load(Ordering::Relaxed))
            .collect()
    }

    /// Copy bytes in, from the start. Bytes that do not fit are left out. For what is short.
    pub fn fill(&self, bytes: &[u8]) {
        for (place, byte) in self.bytes().zip(bytes) {
            place.store(*byte, Ordering::Relaxed);
        }
    }

    fn bytes(&self) -> impl Iterator<Item = &AtomicU8> {
        self.pieces.iter().flat_map(|piece| {
            // SAFETY: the bytes of a piece are mapped while the buffer lives; all accesses to guest memory in
            // this process are atomic or volatile.
            unsafe { slice::from_raw_parts(piece.iov_base.cast::<AtomicU8>(), piece.iov_len) }
        })
    }
}
