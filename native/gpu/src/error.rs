//! Why pixels were not copied.

use thiserror::Error;

use crate::rect::Rect;

/// A copy that was refused, or that was ended. Of a refused one nothing was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CopyError {
    /// The rectangle has no pixels, or some of them are outside.
    #[error("the rectangle {rect} is not inside {width}x{height}")]
    Outside {
        /// The rectangle.
        rect: Rect,
        /// Width of what it should be inside of.
        width: u32,
        /// Its height.
        height: u32,
    },
    /// The backing ends before the rectangle does.
    #[error("the backing has {size} bytes, and the rectangle ends at byte {end}")]
    Short {
        /// Bytes of the backing.
        size: u64,
        /// Where the last row ends.
        end: u128,
    },
    /// A piece of the backing is not in guest memory any more.
    #[error("the backing is outside guest memory at {address:#x}")]
    Memory {
        /// Where it is.
        address: u64,
    },
    /// Somebody else reads or writes the pixels, and the caller does not wait. Nothing was copied.
    #[error("the pixels are in use")]
    Busy,
    /// The copy was ended by its [`Cancel`](crate::Cancel): some rows were copied.
    #[error("the copy was ended")]
    Cancelled,
}
