//! Where an image ends: what is written must lie before, and a resize moves it.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, PoisonError};

use super::Image;
use crate::image_error::ResizeError;
use crate::under_way::WriteUnderWay;

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

impl Image {
    /// Begin a write that ends at `end`, on a thread that must not wait; `look` as for [`Image::write`].
    /// None if it has to be left to a thread that may: the image is being resized, or ends before.
    #[must_use]
    pub(crate) fn begin_write(&self, end: u64, look: &Look) -> Option<WriteUnderWay> {
        let _shared = self.growth.try_read().ok()?;
        // A block device fails by itself past its end.
        (self.is_block_node || self.reaches(end, look)).then(|| self.under_way.begin())
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
        self.under_way.wait();
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
    pub(super) fn reaches(&self, end: u64, look: &Look) -> bool {
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
    pub(super) fn check_end(&self, end: u64) -> io::Result<()> {
        // A write to a block device never makes it longer, and fails by itself past the end.
        if self.is_block_node || self.file.metadata()?.len() >= end {
            return Ok(());
        }
        self.truncated.fetch_add(1, Ordering::Relaxed);
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}
