//! The image of a disk: a raw file or a block device node.
//!
//! Other processes can change the file at any time. A lock keeps out those that honour locks. Every write
//! checks that the file is still as long as the disk: writes to a truncated image fail, and do not
//! silently grow it again with a hole where data was.

mod end;
mod erase;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

pub use end::{Look, SeenEnd};

use crate::buffer::Buffer;
use crate::direct::Direct;
use crate::flushes::Flushes;
use crate::image_error::{ImageError, check_type, explain_open};
use crate::image_lock::{LockError, lock};
use crate::transfer::{Direction, read_cached, transfer};
use crate::under_way::UnderWay;

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
    /// How it is read and written past the page cache; None: through it.
    direct: Option<Direct>,
    /// Writes under way that do not keep the growth locked.
    under_way: UnderWay,
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
            direct: None,
            under_way: UnderWay::default(),
            identity: (metadata.dev(), metadata.ino()),
            overlapping: Flushes::default(),
        })
    }

    /// Read and write it past the page cache from now on.
    ///
    /// # Errors
    /// [`ImageError::NoDirectIo`] if the file system can't, [`ImageError::BadSize`] if the image does not
    /// end with a block of the storage.
    pub fn bypass_cache(mut self, path: &Path) -> Result<Self, ImageError> {
        let direct = Direct::begin(&self.file).map_err(|cause| ImageError::NoDirectIo {
            path: path.into(),
            cause,
        })?;
        let (size, block_size) = (self.capacity(), direct.block_size());
        if !size.is_multiple_of(block_size) {
            return Err(ImageError::BadSize {
                path: path.into(),
                size,
                block_size,
            });
        }
        self.block_size = self.block_size.max(block_size);
        self.direct = Some(direct);
        Ok(self)
    }

    /// How it is read and written past the page cache; None: through it.
    #[must_use]
    pub fn direct(&self) -> Option<&Direct> {
        self.direct.as_ref()
    }

    /// The open file.
    pub(crate) fn file(&self) -> &File {
        &self.file
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
        let result = self.transfer(Direction::Read, buffer, offset);
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
        match &self.direct {
            Some(direct) => direct.read(&self.file, offset, bytes),
            None => self.file.read_exact_at(bytes, offset),
        }
    }

    fn write_bytes(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match &self.direct {
            Some(direct) => direct.write(&self.file, offset, bytes),
            None => self.file.write_all_at(bytes, offset),
        }
    }

    fn transfer(&self, direction: Direction, buffer: &Buffer, offset: u64) -> io::Result<()> {
        let (file, pieces) = (&self.file, buffer.pieces());
        // SAFETY: the pieces of a buffer are valid while it lives.
        unsafe {
            match &self.direct {
                Some(direct) => direct.transfer(file, direction, pieces, buffer.len(), offset),
                None => transfer(file, direction, pieces, offset),
            }
        }
    }

    /// Fill a buffer from the image if it is in the page cache; false when it is not, or not whole.
    #[must_use]
    pub fn read_cached(&self, buffer: &Buffer, offset: u64) -> bool {
        if self.direct.is_some() || !self.reads_cached.load(Ordering::Relaxed) {
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
        self.transfer(Direction::Write, buffer, offset)
    }

    /// Turn bits over: bytes behind an offset, and the bits of each.
    ///
    /// # Errors
    /// Those of the system.
    pub(crate) fn change(&self, offset: u64, changes: &[(u64, u8)]) -> io::Result<()> {
        for (place, bits) in changes {
            let mut byte = [0];
            self.read_bytes(offset + place, &mut byte)?;
            byte[0] ^= bits;
            self.write_bytes(offset + place, &byte)?;
        }
        Ok(())
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
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::thread;

    use super::*;

    /// Part of a block is read and written back: what is zeroed meanwhile must not come back with it.
    #[test]
    fn zeroes_beside_a_part_of_a_block_that_is_written_stay() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(4096).unwrap();
        let image = Image::open(file.path(), false, 512).unwrap();
        // Not where the file system of temporary files has no direct I/O.
        let Ok(image) = image.bypass_cache(file.path()) else {
            return;
        };
        thread::scope(|scope| {
            let zeroing = scope.spawn(|| {
                for _ in 0..300 {
                    image.write_bytes(0, &[1; 100]).unwrap();
                    image.write_zeroes(0, 100, false).unwrap();
                    let mut bytes = [2; 100];
                    image.read_bytes(0, &mut bytes).unwrap();
                    assert_eq!(bytes, [0; 100]);
                }
            });
            while !zeroing.is_finished() {
                image.write_bytes(200, &[3; 100]).unwrap();
            }
        });
    }

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
