//! System calls that move bytes between guest memory and a file. A short transfer is an error.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;
use std::slice;

/// Most pieces of one system call (`UIO_MAXIOV`).
const IOV_MAX: usize = 1024;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the file to memory.
    Read,
    /// From memory to the file.
    Write,
}

/// Move all bytes of `pieces`. Continues after partial transfers and interruptions.
///
/// # Errors
/// Those of the system; `UnexpectedEof` when the file ends before. Some bytes may be moved then.
///
/// # Safety
/// Every piece is valid for its length, for reads and, when reading from the file, for writes.
pub unsafe fn transfer(
    file: &File,
    direction: Direction,
    pieces: &[libc::iovec],
    offset: u64,
) -> io::Result<()> {
    let mut at = offset;
    let mut rest = pieces;
    // The first piece of `rest`, when a part of it was moved.
    let mut cut: Option<libc::iovec> = None;
    while !rest.is_empty() {
        let batch = match &cut {
            Some(piece) => slice::from_ref(piece),
            None => &rest[..rest.len().min(IOV_MAX)],
        };
        // SAFETY: the caller vouches for the pieces, a cut one is the end of one of them, and there
        // are at most IOV_MAX.
        let moved = match unsafe { transfer_some(file, direction, batch, at, 0) } {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(moved) => moved,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
            Err(cause) => return Err(cause),
        };
        // No overflow: the kernel moved them, so they are inside the largest file.
        at += moved as u64;
        let (whole, left) = count_whole(batch, moved);
        cut = batch
            .get(whole)
            .filter(|_| left > 0)
            .map(|piece| libc::iovec {
                // Inside the piece: `left` is less than its length.
                iov_base: piece.iov_base.wrapping_byte_add(left),
                iov_len: piece.iov_len - left,
            });
        rest = &rest[whole..];
    }
    Ok(())
}

/// Pieces of memory that bytes are copied into, or out of, from the first one on.
pub struct Pieces<'a> {
    rest: &'a [libc::iovec],
    /// Bytes of the first of them that are done.
    done: usize,
}

impl<'a> Pieces<'a> {
    /// Begin with the first one.
    #[must_use]
    pub fn new(pieces: &'a [libc::iovec]) -> Self {
        Self {
            rest: pieces,
            done: 0,
        }
    }

    /// Copy bytes in. Those that do not fit are left out.
    ///
    /// # Safety
    /// Every piece is valid for writes of its length.
    pub unsafe fn fill(&mut self, bytes: &[u8]) {
        let mut from = bytes;
        while let Some((place, length)) = self.next(from.len()) {
            let (now, later) = from.split_at(length);
            // SAFETY: the caller vouches for the piece, and the place lies in it.
            unsafe { ptr::copy_nonoverlapping(now.as_ptr(), place, length) };
            from = later;
        }
    }

    /// Copy bytes out. Those for which there is no piece stay as they are.
    ///
    /// # Safety
    /// Every piece is valid for reads of its length.
    pub unsafe fn empty(&mut self, bytes: &mut [u8]) {
        let mut to = bytes;
        while let Some((place, length)) = self.next(to.len()) {
            let (now, later) = to.split_at_mut(length);
            // SAFETY: the caller vouches for the piece, and the place lies in it.
            unsafe { ptr::copy_nonoverlapping(place, now.as_mut_ptr(), length) };
            to = later;
        }
    }

    /// The next place, and how many bytes of `wanted` are there. None if there is nothing to do.
    fn next(&mut self, wanted: usize) -> Option<(*mut u8, usize)> {
        let (first, others) = self.rest.split_first()?;
        let length = wanted.min(first.iov_len - self.done);
        // Inside the piece: `done` is less than its length, or the length is 0.
        let place = first.iov_base.cast::<u8>().wrapping_add(self.done);
        self.done += length;
        if self.done == first.iov_len {
            (self.rest, self.done) = (others, 0);
        }
        (wanted > 0).then_some((place, length))
    }
}

/// Read all bytes of `pieces` from the page cache. False if they are not all there; some bytes may be
/// moved then.
///
/// # Errors
/// Those of the system: `EAGAIN` if it would wait for the storage, `EOPNOTSUPP` if the file system can't
/// tell.
///
/// # Safety
/// Every piece is valid for writes of its length.
pub unsafe fn read_cached(
    file: &File,
    pieces: &[libc::iovec],
    length: u64,
    offset: u64,
) -> io::Result<bool> {
    if pieces.len() > IOV_MAX {
        return Ok(false);
    }
    // SAFETY: the caller vouches for the pieces; there are at most IOV_MAX.
    let moved = unsafe { transfer_some(file, Direction::Read, pieces, offset, libc::RWF_NOWAIT) };
    moved.map(|moved| moved as u64 == length)
}

/// One system call.
///
/// # Safety
/// As for [`transfer`], and there are at most [`IOV_MAX`] pieces.
unsafe fn transfer_some(
    file: &File,
    direction: Direction,
    pieces: &[libc::iovec],
    offset: u64,
    flags: libc::c_int,
) -> io::Result<usize> {
    // Offset -1 would mean the file's own position, and larger ones do not exist.
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let at = libc::off_t::try_from(offset).map_err(invalid)?;
    let count = libc::c_int::try_from(pieces.len()).map_err(invalid)?;
    // SAFETY: the caller vouches for the pieces.
    let moved = unsafe {
        match direction {
            Direction::Read => libc::preadv2(file.as_raw_fd(), pieces.as_ptr(), count, at, flags),
            Direction::Write => libc::pwritev2(file.as_raw_fd(), pieces.as_ptr(), count, at, flags),
        }
    };
    usize::try_from(moved).map_err(|_| io::Error::last_os_error())
}

/// Pieces that `moved` bytes fill whole, and how many bytes are left for the next one.
fn count_whole(pieces: &[libc::iovec], moved: usize) -> (usize, usize) {
    let mut left = moved;
    for (whole, piece) in pieces.iter().enumerate() {
        if piece.iov_len > left {
            return (whole, left);
        }
        left -= piece.iov_len;
    }
    (pieces.len(), left)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn pieces_of(chunks: &mut [Vec<u8>]) -> Vec<libc::iovec> {
        chunks
            .iter_mut()
            .map(|chunk| libc::iovec {
                iov_base: chunk.as_mut_ptr().cast(),
                iov_len: chunk.len(),
            })
            .collect()
    }

    #[test]
    fn more_pieces_than_one_system_call_takes_are_moved_in_order() {
        let mut file = tempfile::tempfile().unwrap();
        let content: Vec<u8> = (0..=250).cycle().take(3000).collect();
        file.write_all(&content).unwrap();
        let mut chunks = vec![vec![0_u8]; content.len()];
        let pieces = pieces_of(&mut chunks);
        // SAFETY: the pieces are the chunks.
        unsafe { transfer(&file, Direction::Read, &pieces, 0) }.unwrap();
        assert_eq!(chunks.concat(), content);
    }

    #[test]
    fn a_read_past_the_end_of_the_file_is_an_error() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 100]).unwrap();
        let mut chunks = vec![vec![0_u8; 64], vec![0_u8; 64]];
        let pieces = pieces_of(&mut chunks);
        // SAFETY: the pieces are the chunks.
        let failure = unsafe { transfer(&file, Direction::Read, &pieces, 0) }.unwrap_err();
        assert_eq!(failure.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn counting_stops_inside_a_piece() {
        let mut chunks = vec![vec![1_u8, 2], vec![3, 4, 5], vec![6]];
        let pieces = pieces_of(&mut chunks);
        let counted = [0, 2, 3, 6].map(|moved| count_whole(&pieces, moved));
        assert_eq!(counted, [(0, 0), (1, 0), (1, 1), (3, 0)]);
    }

    #[test]
    fn an_offset_that_is_no_file_offset_is_refused() {
        let file = tempfile::tempfile().unwrap();
        let mut chunks = vec![vec![0_u8]];
        let pieces = pieces_of(&mut chunks);
        // SAFETY: the pieces are the chunks.
        let failure = unsafe { transfer(&file, Direction::Write, &pieces, u64::MAX) }.unwrap_err();
        assert_eq!(failure.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(file.metadata().unwrap().len(), 0);
    }
}
