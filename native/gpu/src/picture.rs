//! What a scanout shows: pixels as they were when the driver last flushed them.
//!
//! A picture has pixels of its own. So a driver that draws the next picture, or that destroys the
//! resource, never tears what people see.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use crate::PIXEL;
use crate::backing::Backing;
use crate::cancel::Cancel;
use crate::error::CopyError;
use crate::format::Format;
use crate::rect::Rect;
use crate::surface::Surface;

/// An image in guest memory (`VIRTIO_GPU_CMD_SET_SCANOUT_BLOB`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryImage {
    /// Format of its pixels.
    pub format: Format,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Where its first pixel is in the backing, in bytes.
    pub offset: u64,
    /// Bytes from one row to the next.
    pub stride: u32,
}

/// Whether a copy waits while somebody else uses the pixels. A reader may take long: see `read`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// It waits.
    Yes,
    /// It is refused as `Busy`.
    No,
}

/// Pixels as blue, green, red, and 255. They are black at first.
pub struct Picture {
    width: u32,
    height: u32,
    pixels: Mutex<Vec<u8>>,
}

impl Picture {
    /// Make a black picture. Whoever makes it has bounded its size.
    #[must_use]
    pub fn new(width: u32, height: u32) -> Self {
        let mut pixels = vec![0; width as usize * height as usize * PIXEL];
        for pixel in pixels.chunks_exact_mut(PIXEL) {
            pixel[PIXEL - 1] = 0xFF;
        }
        Self {
            width,
            height,
            pixels: Mutex::new(pixels),
        }
    }

    fn stride(&self) -> usize {
        self.width as usize * PIXEL
    }

    fn lock(&self, wait: Wait) -> Result<MutexGuard<'_, Vec<u8>>, CopyError> {
        // Nothing panics while it is held.
        match wait {
            Wait::Yes => Ok(self.pixels.lock().unwrap_or_else(PoisonError::into_inner)),
            Wait::No => match self.pixels.try_lock() {
                Ok(pixels) => Ok(pixels),
                Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => Err(CopyError::Busy),
            },
        }
    }

    /// Where a row of a rectangle is in the pixels. The rectangle is inside.
    fn row(&self, rect: Rect, number: usize) -> std::ops::Range<usize> {
        let first = (rect.y as usize + number) * self.stride() + rect.x as usize * PIXEL;
        first..first + rect.width as usize * PIXEL
    }

    /// Show a rectangle of a resource. `rect` is where it is in the picture, `left` and `top` are where
    /// it is in the resource.
    ///
    /// # Errors
    /// `Outside`, `Busy`, `Cancelled`.
    pub fn show(
        &self,
        surface: &Surface,
        (left, top): (u32, u32),
        rect: Rect,
        cancel: &Cancel,
        wait: Wait,
    ) -> Result<(), CopyError> {
        rect.check_inside(self.width, self.height)?;
        let (x, y) = (left, top);
        let mut pixels = self.lock(wait)?;
        surface.rows(Rect { x, y, ..rect }, cancel, |number, format, line| {
            format.to_bgra(line, &mut pixels[self.row(rect, number)], false);
        })
    }

    /// Show a rectangle of an image in guest memory. `rect` is where it is in the picture, `left` and
    /// `top` are where it is in the image.
    ///
    /// # Errors
    /// `Outside`, `Short`, `Memory`, `Busy`, `Cancelled`.
    pub fn show_memory(
        &self,
        backing: &Backing,
        image: MemoryImage,
        (left, top): (u32, u32),
        rect: Rect,
        cancel: &Cancel,
        wait: Wait,
    ) -> Result<(), CopyError> {
        rect.check_inside(self.width, self.height)?;
        let (x, y) = (left, top);
        Rect { x, y, ..rect }.check_inside(image.width, image.height)?;
        let stride = u64::from(image.stride);
        let skipped = u64::from(top) * stride + u64::from(left) * PIXEL as u64;
        let first = image.offset.saturating_add(skipped);
        let mut line = vec![0; rect.width as usize * PIXEL];
        backing.check_rows(first, stride, line.len(), rect.height)?;
        let mut pixels = self.lock(wait)?;
        for number in 0..rect.height as usize {
            if cancel.is_set() {
                return Err(CopyError::Cancelled);
            }
            backing.read(first + number as u64 * stride, &mut line)?;
            image
                .format
                .to_bgra(&line, &mut pixels[self.row(rect, number)], false);
        }
        Ok(())
    }

    /// Bytes of the pixels of a rectangle.
    ///
    /// # Errors
    /// `Outside`.
    pub fn bytes_of(&self, rect: Rect) -> Result<usize, CopyError> {
        rect.check_inside(self.width, self.height)?;
        Ok(rect.width as usize * rect.height as usize * PIXEL)
    }

    /// Give each row of a rectangle to `take`, from top to bottom: blue, green, red and 255. All rows are
    /// of one moment: nobody writes meanwhile.
    ///
    /// # Errors
    /// `Outside`.
    pub fn read(&self, rect: Rect, mut take: impl FnMut(&[u8])) -> Result<(), CopyError> {
        rect.check_inside(self.width, self.height)?;
        let pixels = self.lock(Wait::Yes)?;
        for number in 0..rect.height as usize {
            take(&pixels[self.row(rect, number)]);
        }
        Ok(())
    }
}
