//! A 2D resource (`VIRTIO_GPU_CMD_RESOURCE_CREATE_2D`): pixels of the host.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::PIXEL;
use crate::backing::Backing;
use crate::cancel::Cancel;
use crate::error::CopyError;
use crate::format::Format;
use crate::rect::Rect;

/// Pixels in the format that the driver chose. They are 0 until something is transferred, and take
/// memory only then.
pub struct Surface {
    width: u32,
    height: u32,
    format: Format,
    pixels: Mutex<Vec<u8>>,
}

impl Surface {
    /// Make a resource. Whoever makes it has bounded its size.
    #[must_use]
    pub fn new(width: u32, height: u32, format: Format) -> Self {
        let pixels = Mutex::new(vec![0; width as usize * height as usize * PIXEL]);
        Self {
            width,
            height,
            format,
            pixels,
        }
    }

    /// Bytes of a row.
    fn stride(&self) -> usize {
        self.width as usize * PIXEL
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        // Nothing panics while it is held.
        self.pixels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copy a rectangle from the backing (`VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D`). Its first pixel is at
    /// `offset` in the backing, and each row as far behind the one before as in the resource.
    ///
    /// # Errors
    /// `Outside`, `Short`, `Memory`, `Cancelled`.
    pub fn transfer(
        &self,
        backing: &Backing,
        rect: Rect,
        offset: u64,
        cancel: &Cancel,
    ) -> Result<(), CopyError> {
        rect.check_inside(self.width, self.height)?;
        let (stride, row) = (self.stride(), rect.width as usize * PIXEL);
        backing.check_rows(offset, stride as u64, row, rect.height)?;
        let mut pixels = self.lock();
        let first = rect.y as usize * stride + rect.x as usize * PIXEL;
        let mut from = offset;
        for line in pixels[first..]
            .chunks_mut(stride)
            .take(rect.height as usize)
        {
            if cancel.is_set() {
                return Err(CopyError::Cancelled);
            }
            backing.read(from, &mut line[..row])?;
            from = from.saturating_add(stride as u64); // Read only if there is another row.
        }
        Ok(())
    }

    /// Give each row of a rectangle, from left to right, to `take`, with its number from 0 on.
    ///
    /// # Errors
    /// `Outside`, `Cancelled`.
    pub fn rows(
        &self,
        rect: Rect,
        cancel: &Cancel,
        mut take: impl FnMut(usize, Format, &[u8]),
    ) -> Result<(), CopyError> {
        rect.check_inside(self.width, self.height)?;
        let (stride, row) = (self.stride(), rect.width as usize * PIXEL);
        let first = rect.y as usize * stride + rect.x as usize * PIXEL;
        let pixels = self.lock();
        let lines = pixels[first..].chunks(stride).take(rect.height as usize);
        for (number, line) in lines.enumerate() {
            if cancel.is_set() {
                return Err(CopyError::Cancelled);
            }
            take(number, self.format, &line[..row]);
        }
        Ok(())
    }

    /// Copy everything out as blue, green, red and alpha.
    #[must_use]
    pub fn to_bgra(&self) -> Vec<u8> {
        let pixels = self.lock();
        let mut copy = vec![0; pixels.len()];
        self.format.to_bgra(&pixels, &mut copy, true);
        copy
    }
}
