//! The image of a disk: a raw file or a block device node.
//!
//! Other processes can change the file at any time. A lock keeps out those that honour locks. Every write
//! checks that the file is still as long as the disk: writes to a truncated image fail, and do not
//! silently grow it again with a hole where data was.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use crate::buffer::Buffer;
use crate::flushes::Flushes;
use crate::image_error::{ImageError, ResizeError, check_type, explain_open};
use crate::image_lock::{LockError, lock};
use crate::ranges;
use crate::transfer::{Direction, read_cached, transfer};

/// A look at where the file ends, shared by writes that were taken from a queue before it: the first of
/// them that is executed looks, since that may wait for the storage as a write does.
pub type Look = Arc<OnceLock<SeenEnd>>;

/// Where a look at the file saw its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenEnd {
    /// How often the image had been resized: after another time, the look says nothing.
    sizes: u64,
    end: u64,
}

/// An open, locked image.
#[derive(Debug)]
pub struct Image {
    file: File,
    read_only: bool,
    is_block_node: bool,
    block_size: u64,
    capacity: AtomicU64,
    /// Locked shared by every operation that could grow the file, exclusively by resize: a write that
    /// was checked against the old size must not be executed after the file shrank.
    growth: RwLock<()>,
    /// Times that the image was resized.
    sizes: AtomicU64,
    /// Requests that failed because the file is shorter than the disk.
    truncated: AtomicU64,
    flushes: AtomicU64,
    /// False once the file system has refused to read from the page cache alone: tmpfs and overlay do.
    reads_cached: AtomicBool,
    /// Device and inode of the file.
    identity: (u64, u64),
    /// The flushes under way, and whether one has failed.
    overlapping: Flushes,
}

impl Image {
    /// Open and lock an image: exclusively, or shared when `read_only`.
    ///
    /// # Errors
    /// Every variant of [`ImageError`].
    pub fn open(path: &Path, read_only: bool, block_size: u64) -> Result<Self, ImageError> {
        let explain = |cause: io::Error| explain_open(path, read_only, cause);
        // Checked before it is opened: opening a device that is not a disk can have side effects.
        let is_block_node = check_type(path, &fs::metadata(path).map_err(explain)?)?;
        let mut options = OpenOptions::new();
        // Without O_NONBLOCK, opening a FIFO that replaced the file would wait. With O_EXCL, a block
        // device that is mounted or opened so elsewhere is refused.
        let exclusive = if is_block_node && !read_only {
            libc::O_EXCL
        } else {
            0
        };
        options
            .read(true)
            .write(!read_only)
            .custom_flags(libc::O_NONBLOCK | exclusive);
        let mut file = options.open(path).map_err(explain)?;
        let metadata = file.metadata().map_err(explain)?;
        let is_block_node = check_type(path, &metadata)?;

        lock(&file, read_only).map_err(|failure| match failure {
            LockError::Held(holder) => ImageError::Locked {
                path: path.into(),
                holder,
            },
            LockError::Io(cause) => ImageError::NotLockable {
                path: path.into(),
                cause,
            },
        })?;

        let size = if is_block_node {
            file.seek(SeekFrom::End(0)).map_err(explain)?
        } else {
            metadata.len()
        };
        if size == 0 || !size.is_multiple_of(block_size) {
            return Err(ImageError::BadSize {
                path: path.into(),
                size,
                block_size,
            });
        }
        Ok(Self {
            file,
            read_only,
            is_block_node,
            block_size,
            capacity: AtomicU64::new(size),
            growth: RwLock::new(()),
            sizes: AtomicU64::new(0),
            truncated: AtomicU64::new(0),
            flushes: AtomicU64::new(0),
            reads_cached: AtomicBool::new(true),
            identity: (metadata.dev(), metadata.ino()),
            overlapping: Flushes::default(),
        })
    }

    /// Capacity in bytes.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.capacity.load(Ordering::Acquire)
    }

    /// True when it was opened read-only.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// True when it is a block device node.
    #[must_use]
    pub fn is_block_node(&self) -> bool {
        self.is_block_node
    }

    /// Device and inode of the file (`st_dev`, `st_ino`). A path that has others is that of another file.
    #[must_use]
    pub fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// Requests that failed because the file was truncated by another process.
    #[must_use]
    pub fn truncated(&self) -> u64 {
        self.truncated.load(Ordering::Relaxed)
    }

    /// Times the image was flushed, for requests and otherwise.
    #[must_use]
    pub fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Relaxed)
    }

    /// Bytes allocated in the file system; for a block device node, its capacity.
    ///
    /// # Errors
    /// Those of the system.
    pub fn allocated(&self) -> io::Result<u64> {
        if self.is_block_node {
            return Ok(self.capacity());
        }
        // st_blocks counts in 512 bytes, whatever the file system.
        Ok(self.file.metadata()?.blocks() * 512)
    }

    /// Fill a buffer from the image.
    ///
    /// # Errors
    /// Those of the system; `UnexpectedEof` when the file ends before.
    pub fn read(&self, buffer: &Buffer, offset: u64) -> io::Result<()> {
        // SAFETY: the pieces of a buffer are valid while it lives.
        let result = unsafe { transfer(&self.file, Direction::Read, buffer.pieces(), offset) };
        if let Err(cause) = &result
            && cause.kind() == io::ErrorKind::UnexpectedEof
        {
            self.truncated.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    /// Read bytes, as the write log does. What it finds missing is not counted.
    ///
    /// # Errors
    /// Those of [`Image::read`].
    pub(crate) fn read_bytes(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    /// Fill a buffer from the image if it is in the page cache; false when it is not, or not whole.
    #[must_use]
    pub fn read_cached(&self, buffer: &Buffer, offset: u64) -> bool {
        if !self.reads_cached.load(Ordering::Relaxed) {
            return false;
        }
        // SAFETY: the pieces of a buffer are valid while it lives.
        let read = unsafe { read_cached(&self.file, buffer.pieces(), buffer.len(), offset) };
        read.unwrap_or_else(|cause| {
            if cause.raw_os_error() == Some(libc::EOPNOTSUPP) {
                self.reads_cached.store(false, Ordering::Relaxed);
            }
            false
        })
    }

    /// Write a buffer to the image. `look`: the look at where the file ends that it shares, if it does.
    ///
    /// A shared look guards what a look of each write guards: a truncation that was done when a request was
    /// taken from its queue fails its write. One that comes later is concurrent with the request, and a
    /// look of the write itself can come before it too.
    ///
    /// # Errors
    /// Those of the system; `UnexpectedEof`, with nothing written, when the file ends before.
    pub fn write(&self, buffer: &Buffer, offset: u64, look: Option<&Look>) -> io::Result<()> {
        let _shared = self.growth.read().unwrap_or_else(PoisonError::into_inner);
        let end = offset + buffer.len();
        if !look.is_some_and(|look| self.reaches(end, look)) {
            self.check_end(end)?;
        }
        // SAFETY: the pieces of a buffer are valid while it lives.
        unsafe { transfer(&self.file, Direction::Write, buffer.pieces(), offset) }
    }

    /// Turn bits over: bytes behind an offset, and the bits of each.
    ///
    /// # Errors
    /// Those of the system.
    pub(crate) fn change(&self, offset: u64, changes: &[(u64, u8)]) -> io::Result<()> {
        for (place, bits) in changes {
            let mut byte = [0];
            self.file.read_exact_at(&mut byte, offset + place)?;
            byte[0] ^= bits;
            self.file.write_all_at(&byte, offset + place)?;
        }
        Ok(())
    }

    /// Discard a range. What it reads as afterwards is not specified.
    ///
    /// # Errors
    /// Those of the system. A file system without discard is not an error.
    pub fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        let discarded = if self.is_block_node {
            ranges::discard_blocks(&self.file, offset, length)
        } else {
            self.check_end(offset + length)?;
            ranges::fallocate(&self.file, libc::FALLOC_FL_PUNCH_HOLE, offset, length)
        };
        // "The device MAY deallocate" (5.2.6.2): without file system support, nothing is done.
        discarded.or_else(|cause| {
            if ranges::is_unsupported(&cause) {
                Ok(())
            } else {
                Err(cause)
            }
        })
    }

    /// Fill a range with zeroes. `unmap` allows to deallocate its storage.
    ///
    /// # Errors
    /// Those of the system; `UnexpectedEof` when the file ends before.
    pub fn write_zeroes(&self, offset: u64, length: u64, unmap: bool) -> io::Result<()> {
        let _shared = self.growth.read().unwrap_or_else(PoisonError::into_inner);
        self.check_end(offset + length)?;
        let mode = if unmap {
            libc::FALLOC_FL_PUNCH_HOLE
        } else {
            libc::FALLOC_FL_ZERO_RANGE
        };
        ranges::fallocate(&self.file, mode, offset, length).or_else(|cause| {
            // A block device refuses with EINVAL what is not aligned to its own blocks.
            if ranges::is_unsupported(&cause) || cause.kind() == io::ErrorKind::InvalidInput {
                ranges::write_zeroes(&self.file, offset, length)
            } else {
                Err(cause)
            }
        })
    }

    /// Make completed writes durable.
    ///
    /// # Errors
    /// Those of the system; after the first one, every flush that ends later fails too.
    pub fn flush(&self) -> io::Result<()> {
        self.overlapping.run(|| {
            self.flushes.fetch_add(1, Ordering::Relaxed);
            self.file.sync_data()
        })
    }

    /// Change the size of the file, and the capacity with it.
    ///
    /// # Errors
    /// Every variant of [`ResizeError`].
    pub fn resize(&self, size: u64) -> Result<(), ResizeError> {
        if self.is_block_node {
            return Err(ResizeError::NotResizable);
        }
        if self.read_only {
            return Err(ResizeError::ReadOnly);
        }
        if size == 0 || !size.is_multiple_of(self.block_size) {
            return Err(ResizeError::BadSize {
                size,
                block_size: self.block_size,
            });
        }
        let alone = self.growth.write().unwrap_or_else(PoisonError::into_inner);
        self.file.set_len(size)?;
        self.capacity.store(size, Ordering::Release);
        // After the change: a look that read the new count sees the new end.
        self.sizes.fetch_add(1, Ordering::AcqRel);
        // No write waits for the flush: a reset waits for writes.
        drop(alone);
        // Not `sync_data` itself: it would consume the only report of lost writes.
        Ok(self.flush()?)
    }

    /// True if a shared look says that the file reaches `end`. The growth of the file is locked: no resize
    /// can come.
    fn reaches(&self, end: u64, look: &Look) -> bool {
        if self.is_block_node {
            return false;
        }
        let sizes = self.sizes.load(Ordering::Acquire);
        let seen = look.get().copied().or_else(|| {
            let end = self.file.metadata().ok()?.len();
            Some(*look.get_or_init(|| SeenEnd { sizes, end }))
        });
        seen.is_some_and(|seen| seen.sizes == sizes && seen.end >= end)
    }

    /// Check that the file still reaches `end`.
    fn check_end(&self, end: u64) -> io::Result<()> {
        // A write to a block device never makes it longer, and fails by itself past the end.
        if self.is_block_node || self.file.metadata()?.len() >= end {
            return Ok(());
        }
        self.truncated.fetch_add(1, Ordering::Relaxed);
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;

    #[test]
    fn after_a_failed_flush_every_later_flush_fails() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(512).unwrap();
        let mut image = Image::open(file.path(), false, 512).unwrap();
        image.flush().unwrap();
        // A pipe can't be flushed.
        let (_, pipe) = io::pipe().unwrap();
        let healthy = std::mem::replace(&mut image.file, File::from(OwnedFd::from(pipe)));
        image.flush().unwrap_err();
        image.file = healthy;
        let failure = image.flush().unwrap_err();
        assert!(
            failure.to_string().contains("earlier flush failed"),
            "{failure}"
        );
        let failure = image.resize(1024).unwrap_err();
        let cause = std::error::Error::source(&failure).map(ToString::to_string);
        assert!(
            cause.is_some_and(|text| text.contains("earlier flush failed")),
            "{failure}"
        );
    }
}
