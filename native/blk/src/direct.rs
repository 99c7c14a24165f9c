//! Direct I/O: bytes move between memory and the storage, past the page cache (`O_DIRECT`).
//!
//! The system takes only what is aligned: the offset and the length of each piece to the blocks of the
//! storage, its address to what the storage can reach. What is not goes by way of a buffer that is. Of a
//! write that begins or ends within a block, the rest of the block is read and written back; nothing else
//! writes meanwhile, or what is written beside it would be lost.

use std::alloc::{self, Layout};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;
use std::slice;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use crate::transfer::{Direction, Pieces, transfer};

/// Most bytes of a buffer that bytes go by way of.
const ROOM: u64 = 1 << 20;
/// Alignments that are tried where the system does not tell them, in bytes.
const GUESSES: [u32; 2] = [512, 4096];

/// What direct I/O of a file takes.
#[derive(Debug)]
pub struct Direct {
    /// Alignment of addresses in memory, in bytes: a power of two.
    memory: usize,
    /// Alignment of offsets and lengths, in bytes: a power of two.
    block: u64,
    /// Locked shared by writes of whole blocks, exclusively by those that write a part of one back.
    blocks: RwLock<()>,
}

impl Direct {
    /// Have a file read and written past the page cache from now on.
    ///
    /// # Errors
    /// Those of the system: `EINVAL` if the file system has no direct I/O.
    pub fn begin(file: &File) -> io::Result<Self> {
        set_direct(file)?;
        let (memory, block) = match told(file)? {
            Some(alignment) => alignment,
            None => find(file)?,
        };
        Ok(Self {
            memory: memory as usize,
            block: u64::from(block),
            blocks: RwLock::new(()),
        })
    }

    /// Bytes of a block of the storage: what offsets and lengths are aligned to.
    #[must_use]
    pub fn block_size(&self) -> u64 {
        self.block
    }

    /// True if the system takes a transfer as it is.
    #[must_use]
    pub fn takes(&self, pieces: &[libc::iovec], offset: u64) -> bool {
        offset.is_multiple_of(self.block)
            && pieces.iter().all(|piece| {
                (piece.iov_base as usize).is_multiple_of(self.memory)
                    && (piece.iov_len as u64).is_multiple_of(self.block)
            })
    }

    /// Move all bytes of `pieces`, of `length` bytes together.
    ///
    /// # Errors
    /// As for [`transfer`].
    ///
    /// # Safety
    /// As for [`transfer`].
    pub unsafe fn transfer(
        &self,
        file: &File,
        direction: Direction,
        pieces: &[libc::iovec],
        length: u64,
        offset: u64,
    ) -> io::Result<()> {
        if self.takes(pieces, offset) {
            let _shared = (direction == Direction::Write).then(|| self.share());
            // SAFETY: the caller vouches for the pieces.
            return unsafe { transfer(file, direction, pieces, offset) };
        }
        let mut pieces = Pieces::new(pieces);
        let mut done = 0;
        while done < length {
            let part = (length - done).min(ROOM);
            // SAFETY: the caller vouches for the pieces.
            unsafe { self.by_way(file, direction, &mut pieces, part, offset + done) }?;
            done += part;
        }
        Ok(())
    }

    /// Keep parts of blocks from being written back, while something else changes the file.
    pub fn share(&self) -> RwLockReadGuard<'_, ()> {
        self.blocks.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Read bytes into memory that is aligned to nothing.
    ///
    /// # Errors
    /// As for [`transfer`].
    pub fn read(&self, file: &File, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let piece = piece_of(bytes.as_mut_ptr(), bytes.len());
        // SAFETY: the piece is the bytes.
        unsafe { self.transfer(file, Direction::Read, &[piece], bytes.len() as u64, offset) }
    }

    /// Write bytes from memory that is aligned to nothing.
    ///
    /// # Errors
    /// As for [`transfer`].
    pub fn write(&self, file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let piece = piece_of(bytes.as_ptr().cast_mut(), bytes.len());
        // SAFETY: the piece is the bytes, which a write only reads.
        unsafe { self.transfer(file, Direction::Write, &[piece], bytes.len() as u64, offset) }
    }

    /// Move `length` bytes, at most [`ROOM`], by way of a buffer that is aligned.
    ///
    /// # Safety
    /// As for [`transfer`].
    unsafe fn by_way(
        &self,
        file: &File,
        direction: Direction,
        pieces: &mut Pieces<'_>,
        length: u64,
        offset: u64,
    ) -> io::Result<()> {
        let start = offset - offset % self.block;
        let end = (offset + length).next_multiple_of(self.block);
        let mut room = Room::new(end - start, self.memory.max(512))?;
        let bytes = room.bytes();
        #[expect(clippy::cast_possible_truncation, reason = "at most a block")]
        let before = (offset - start) as usize;
        #[expect(clippy::cast_possible_truncation, reason = "at most ROOM")]
        let inside = before..before + length as usize;
        if direction == Direction::Read {
            file.read_exact_at(bytes, start)?;
            // SAFETY: the caller vouches for the pieces.
            unsafe { pieces.fill(&bytes[inside]) };
            return Ok(());
        }
        let is_whole = inside.len() == bytes.len();
        let alone = || self.blocks.write().unwrap_or_else(PoisonError::into_inner);
        let _shared = is_whole.then(|| self.share());
        let _alone = (!is_whole).then(alone);
        if !is_whole {
            file.read_exact_at(bytes, start)?;
        }
        // SAFETY: the caller vouches for the pieces.
        unsafe { pieces.empty(&mut bytes[inside]) };
        file.write_all_at(bytes, start)
    }
}

/// Memory that is aligned.
struct Room {
    start: NonNull<u8>,
    layout: Layout,
}

impl Room {
    fn new(length: u64, alignment: usize) -> io::Result<Self> {
        let none = |_| io::Error::from(io::ErrorKind::OutOfMemory);
        let length = usize::try_from(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let layout = Layout::from_size_align(length.max(1), alignment).map_err(none)?;
        // SAFETY: the length is not 0.
        let start = NonNull::new(unsafe { alloc::alloc_zeroed(layout) });
        let start = start.ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, layout })
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: they are ours, and zeroed when they were made.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.layout.size()) }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // SAFETY: made by `alloc_zeroed` with this layout.
        unsafe { alloc::dealloc(self.start.as_ptr(), self.layout) };
    }
}

fn piece_of(start: *mut u8, length: usize) -> libc::iovec {
    libc::iovec {
        iov_base: start.cast(),
        iov_len: length,
    }
}

/// Set `O_DIRECT`. It belongs to the open file, so each of its descriptors has it. `O_NONBLOCK`, which it was
/// opened with, is taken back: a ring would not leave to others what may wait.
fn set_direct(file: &File) -> io::Result<()> {
    // SAFETY: these commands take and return numbers.
    let set = unsafe {
        let flags = libc::fcntl(file.as_raw_fd(), libc::F_GETFL);
        if flags < 0 {
            return Err(io::Error::last_os_error());
        }
        let wanted = (flags | libc::O_DIRECT) & !libc::O_NONBLOCK;
        libc::fcntl(file.as_raw_fd(), libc::F_SETFL, wanted)
    };
    if set < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The alignments of memory and of offsets, if the system tells them (Linux 6.1 and later). It is an error if
/// it tells that there is no direct I/O: reads and writes would go through the page cache all the same.
fn told(file: &File) -> io::Result<Option<(u32, u32)>> {
    // SAFETY: all of its bytes may be 0.
    let mut about: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: the path is empty and ends with 0; the answer is as large as it has to be.
    let asked = unsafe {
        libc::statx(
            file.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_DIOALIGN,
            &raw mut about,
        )
    };
    let (memory, block) = (about.stx_dio_mem_align, about.stx_dio_offset_align);
    let is_told = asked == 0 && about.stx_mask & libc::STATX_DIOALIGN != 0;
    if is_told && (memory, block) == (0, 0) {
        return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
    }
    let is_usable = is_told && memory.is_power_of_two() && block.is_power_of_two();
    Ok(is_usable.then_some((memory, block)))
}

/// The first alignment by which the file can be read.
fn find(file: &File) -> io::Result<(u32, u32)> {
    let mut failure = io::Error::from_raw_os_error(libc::EINVAL);
    for guess in GUESSES {
        let mut room = Room::new(u64::from(guess), guess as usize)?;
        match file.read_at(room.bytes(), 0) {
            Ok(_) => return Ok((guess, guess)),
            Err(cause) => failure = cause,
        }
    }
    Err(failure)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn direct_file(content: &[u8]) -> Option<(tempfile::NamedTempFile, Direct)> {
        let mut file = tempfile::NamedTempFile::new_in("..").unwrap();
        file.write_all(content).unwrap();
        file.as_file().sync_all().unwrap();
        // None where the file system of the sources has no direct I/O.
        let direct = Direct::begin(file.as_file()).ok()?;
        Some((file, direct))
    }

    #[test]
    fn what_is_aligned_to_nothing_is_moved_whole() {
        let content: Vec<u8> = (0..=250).cycle().take(3 << 20).collect();
        let Some((file, direct)) = direct_file(&content) else {
            return;
        };
        let mut bytes = vec![0; (2 << 20) + 77];
        direct.read(file.as_file(), 1001, &mut bytes).unwrap();
        assert_eq!(bytes, content[1001..1001 + bytes.len()]);
    }

    #[test]
    fn a_part_of_a_block_leaves_the_rest_as_it_was() {
        let mut content: Vec<u8> = (0..=250).cycle().take(3 << 20).collect();
        let Some((file, direct)) = direct_file(&content) else {
            return;
        };
        let bytes = vec![7; (1 << 20) + 333];
        direct.write(file.as_file(), 4095, &bytes).unwrap();
        content[4095..4095 + bytes.len()].copy_from_slice(&bytes);
        assert_eq!(std::fs::read(file.path()).unwrap(), content);
    }

    #[test]
    fn blocks_that_are_written_beside_a_part_are_kept() {
        let Some((file, direct)) = direct_file(&[0; 4096]) else {
            return;
        };
        let (file, direct) = (file.as_file(), &direct);
        // Eight writers of a byte each within one block.
        std::thread::scope(|scope| {
            for place in 0..8_u8 {
                scope.spawn(move || {
                    for round in 1..=50 {
                        direct.write(file, place.into(), &[round]).unwrap();
                    }
                });
            }
        });
        let mut bytes = [0; 8];
        direct.read(file, 0, &mut bytes).unwrap();
        assert_eq!(bytes, [50; 8]);
    }
}
