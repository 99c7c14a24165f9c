//! A log of what changes a disk: every write, discard and flush, for looking at what a power loss leaves.
//!
//! The format is that of dm-log-writes of Linux (`drivers/md/dm-log-writes.c`), which QEMU's blklogwrites
//! writes too: a super sector, then for each entry a sector that describes it and its data. What that format
//! has no field for stands in the last 64 bytes of those sectors, which others write as zeroes and skip.
//!
//! A clock counts what happens: requests that are taken from a queue, and ends of writes and flushes. An
//! entry has the times of its submission and of its end. Writes stand in the log in the order of their ends,
//! a flush where it was submitted, with a mark where it has ended. So "before the flush in the log" means
//! "completed before the flush was submitted", for other readers as well.
//!
//! The data is read back from the image, so that the log has what the image got, whatever faults on demand
//! or a driver that changes its buffers did. Once an entry was not written, every later change and flush of
//! the disk fails: a log is never without something that a driver was told has happened.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::image::Image;
use crate::log_format::{
    DISCARD, Entry, FAILED, FLUSH, FLUSHED, MARK, OPENED, Place, SECTOR, ZEROES, first_sector,
    go_on, set_place,
};
use crate::request::SECTOR_SIZE;

/// Longest text of a mark, in bytes.
pub const MARK_BYTES: usize = 255;
/// The image is known again by samples: how many, and bytes of each; and so many bytes at its start.
const SAMPLES: u64 = 64;
const SAMPLE: usize = 512;
const HEAD: usize = 8192;

/// A log was not opened. The path is in every message.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Another process writes to it.
    #[error("{}: another process writes this log: give each disk a log of its own", .0.display())]
    Locked(PathBuf),
    /// The file is something else.
    #[error("{}: {reason}: give the name of a new file", .path.display())]
    NotALog {
        /// Path of the log.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A system call failed.
    #[error("{}: the write log can't be opened: {cause}", .path.display())]
    Io {
        /// Path of the log.
        path: PathBuf,
        /// The error of the system call.
        cause: io::Error,
    },
}

/// An entry was not written, now or earlier.
#[derive(Debug, thiserror::Error)]
#[error(
    "the write log {} lacks a write, since it failed: {cause}: make room, and start the disk with a new log",
    .path.display()
)]
pub struct LogBroken {
    path: PathBuf,
    cause: String,
}

/// An open log.
#[derive(Debug)]
pub struct WriteLog {
    file: File,
    path: PathBuf,
    clock: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The super sector: it is written anew after each entry.
    first: [u8; SECTOR],
    entries: u64,
    /// Where the next entry is written, in bytes.
    tail: u64,
    /// Why an entry was not written.
    broken: Option<String>,
}
/// Why a log is broken that was so when it was opened.
const BROKEN_BEFORE: &str = "in an earlier run of the service";

/// What was done to a range of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Data was written.
    Written,
    /// Zeroes were written.
    Zeroed,
    /// It was discarded.
    Discarded,
    /// It was to be changed, and that failed: any part of it may be.
    Failed,
}

impl WriteLog {
    /// Begin a log of an image, or go on with one.
    ///
    /// # Errors
    /// Every variant of [`LogError`].
    pub fn open(path: &Path, image: &Image, block_size: u32) -> Result<Self, LogError> {
        let io_error = |cause| LogError::Io {
            path: path.into(),
            cause,
        };
        let not_a_log = |reason: String| LogError::NotALog {
            path: path.into(),
            reason,
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            // It has what the image has: others who may not read that may not read it here.
            .mode(0o600)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)
            .map_err(io_error)?;
        let metadata = file.metadata().map_err(io_error)?;
        if !metadata.is_file() {
            return Err(not_a_log("not a regular file".to_owned()));
        }
        if (metadata.dev(), metadata.ino()) == image.identity() {
            return Err(not_a_log("this is the image itself".to_owned()));
        }
        file.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => LogError::Locked(path.into()),
            std::fs::TryLockError::Error(cause) => io_error(cause),
        })?;
        let length = metadata.len();
        let (place, first) = if length == 0 {
            let print = fingerprint(image).map_err(io_error)?;
            let first = first_sector(image.capacity(), print, block_size);
            let (entries, tail) = (0, SECTOR as u64);
            (
                Place {
                    entries,
                    tail,
                    clock: 1,
                    is_broken: false,
                },
                first,
            )
        } else {
            let mut first = [0; SECTOR];
            file.read_exact_at(&mut first, 0)
                .map_err(|_| not_a_log("not a log of writes".to_owned()))?;
            let place = go_on(&first, length, image.capacity()).map_err(not_a_log)?;
            (place, first)
        };
        // What follows the last whole entry was not written whole.
        file.set_len(place.tail).map_err(io_error)?;
        let log = Self {
            file,
            path: path.into(),
            clock: AtomicU64::new(place.clock),
            state: Mutex::new(State {
                first,
                entries: place.entries,
                tail: place.tail,
                broken: place.is_broken.then(|| BROKEN_BEFORE.to_owned()),
            }),
        };
        if !place.is_broken {
            log.mark_as("virtmesh:opened", 0, OPENED)
                .map_err(io_error)?;
        }
        Ok(log)
    }

    /// The time, for a request that is taken from its queue now.
    #[must_use]
    pub fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// Entries that the log has.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.lock().entries
    }

    /// Why an entry was not written, if so: from then on every change of the disk fails.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let state = self.lock();
        let cause = state.broken.as_ref()?;
        Some(self.broken(cause).to_string())
    }

    /// Check that nothing is missing in the log.
    ///
    /// # Errors
    /// [`LogBroken`].
    pub fn check(&self) -> io::Result<()> {
        match &self.lock().broken {
            Some(cause) => Err(io::Error::other(self.broken(cause))),
            None => Ok(()),
        }
    }

    /// Record what was done to a range, in bytes, by a request that was submitted at a time.
    ///
    /// # Errors
    /// [`LogBroken`].
    pub fn changed(
        &self,
        image: &Image,
        change: Change,
        offset: u64,
        length: u64,
        submitted: u64,
    ) -> io::Result<()> {
        if length == 0 {
            return self.check();
        }
        // A fault on demand may write a part of a sector.
        let start = offset / SECTOR_SIZE * SECTOR_SIZE;
        let end = (offset + length).next_multiple_of(SECTOR_SIZE);
        let (flags, extra) = match change {
            Change::Written => (0, 0),
            Change::Zeroed => (0, ZEROES),
            Change::Discarded => (DISCARD, ZEROES),
            Change::Failed => (0, FAILED),
        };
        let data = if extra & ZEROES == 0 {
            read_back(image, start, end - start)
        } else {
            Ok(Vec::new())
        };
        let entry = Entry {
            sector: start / SECTOR_SIZE,
            sectors: (end - start) / SECTOR_SIZE,
            flags,
            extra,
            submitted,
            text: "",
        };
        let mut state = self.lock();
        let written = data.and_then(|data| self.append(&mut state, &entry, &data));
        self.settle(&mut state, written)
    }

    /// Record that a flush is submitted; returns its time.
    ///
    /// That it can't be recorded is told by [`WriteLog::flushed`].
    #[must_use]
    pub fn flush(&self) -> u64 {
        let mut state = self.lock();
        let submitted = self.tick();
        let entry = Entry {
            flags: FLUSH,
            submitted,
            ..Entry::default()
        };
        let written = self.append(&mut state, &entry, &[]);
        // A failure is kept, and found when the flush is executed.
        let _ = self.settle(&mut state, written);
        submitted
    }

    /// Record that the flush that was submitted at a time has ended well.
    ///
    /// # Errors
    /// [`LogBroken`].
    pub fn flushed(&self, submitted: u64) -> io::Result<()> {
        self.mark_as("virtmesh:flushed", submitted, FLUSHED)
    }

    /// Put a mark into the log.
    ///
    /// # Errors
    /// `InvalidInput` for a text of more than [`MARK_BYTES`]; [`LogBroken`].
    pub fn mark(&self, text: &str) -> io::Result<()> {
        let now = self.tick();
        self.mark_as(text, now, 0)
    }

    fn mark_as(&self, text: &str, submitted: u64, extra: u64) -> io::Result<()> {
        if text.len() > MARK_BYTES {
            let reason = format!("a mark has at most {MARK_BYTES} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        let entry = Entry {
            flags: MARK,
            extra,
            submitted,
            text,
            ..Entry::default()
        };
        let mut state = self.lock();
        let written = self.append(&mut state, &entry, &[]);
        self.settle(&mut state, written)
    }

    /// Write an entry, and then that it is there.
    fn append(&self, state: &mut State, entry: &Entry<'_>, data: &[u8]) -> io::Result<()> {
        if let Some(cause) = &state.broken {
            return Err(io::Error::other(cause.clone()));
        }
        let ended = self.tick();
        let header = entry.encode(ended);
        self.file.write_all_at(&header, state.tail)?;
        let mut tail = state.tail + SECTOR as u64;
        if entry.flags & DISCARD == 0 && entry.sectors > 0 {
            self.file.write_all_at(data, tail)?;
            // No overflow: sectors of an image.
            tail += entry.sectors * SECTOR_SIZE;
            // Zeroes are a hole: others read them as data.
            if data.is_empty() {
                self.file.set_len(tail)?;
            }
        }
        state.tail = tail;
        state.entries += 1;
        let (entries, clock) = (state.entries, ended + 1);
        set_place(
            &mut state.first,
            &Place {
                entries,
                tail,
                clock,
                is_broken: false,
            },
        );
        self.file.write_all_at(&state.first, 0)
    }

    /// Keep that an entry was not written, here and in the log: the service may be started anew.
    fn settle(&self, state: &mut State, written: io::Result<()>) -> io::Result<()> {
        let Err(cause) = written else {
            return Ok(());
        };
        if state.broken.is_none() {
            let place = Place {
                entries: state.entries,
                tail: state.tail,
                clock: self.tick(),
                is_broken: true,
            };
            set_place(&mut state.first, &place);
            // In its place, so that a full file system takes it. One that does not keeps only this run.
            let _ = self.file.write_all_at(&state.first, 0);
        }
        let cause = state.broken.get_or_insert_with(|| cause.to_string());
        Err(io::Error::other(self.broken(cause)))
    }

    fn broken(&self, cause: &str) -> LogBroken {
        LogBroken {
            path: self.path.clone(),
            cause: cause.to_owned(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the image has in a range.
fn read_back(image: &Image, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let invalid = |_| io::Error::from(io::ErrorKind::OutOfMemory);
    let mut data = vec![0; usize::try_from(length).map_err(invalid)?];
    image.read_bytes(offset, &mut data)?;
    Ok(data)
}

/// A number that tells an image from others, by its first bytes and samples of the rest (FNV-1a).
fn fingerprint(image: &Image) -> io::Result<u64> {
    let capacity = image.capacity();
    let mut hash = 0xCBF2_9CE4_8422_2325_u64;
    let mut add = |offset: u64, bytes: u64| {
        for byte in read_back(image, offset, bytes)? {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
        io::Result::Ok(())
    };
    add(0, capacity.min(HEAD as u64))?;
    let step = (capacity / SAMPLES / SECTOR_SIZE).max(1) * SECTOR_SIZE;
    for offset in (0..SAMPLES).map(|index| index * step) {
        if offset + SAMPLE as u64 <= capacity {
            add(offset, SAMPLE as u64)?;
        }
    }
    Ok(hash)
}
