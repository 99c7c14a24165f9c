//! Rectangles (5.7.6.8, `struct virtio_gpu_rect`).

use std::fmt;

use crate::error::CopyError;

/// A rectangle of pixels, as the driver gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rect {
    /// First column.
    pub x: u32,
    /// First row.
    pub y: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl fmt::Display for Rect {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            x,
            y,
            width,
            height,
        } = self;
        write!(out, "{width}x{height}+{x}+{y}")
    }
}

impl Rect {
    /// Check that it has pixels, all of them inside of a size.
    ///
    /// # Errors
    /// `Outside`.
    pub fn check_inside(self, width: u32, height: u32) -> Result<(), CopyError> {
        let end = |first: u32, count: u32| u64::from(first) + u64::from(count);
        let fits = self.width > 0
            && self.height > 0
            && end(self.x, self.width) <= u64::from(width)
            && end(self.y, self.height) <= u64::from(height);
        if fits {
            return Ok(());
        }
        Err(CopyError::Outside {
            rect: self,
            width,
            height,
        })
    }
}
