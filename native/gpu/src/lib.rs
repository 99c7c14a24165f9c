//! The pixels of virtio-gpu (virtio 1.4, 5.7): from guest memory into a resource, and from there into
//! the picture that people see.
//!
//! | module | what it holds |
//! |---|---|
//! | [`format`] | the formats of the specification |
//! | [`rect`] | rectangles, checked |
//! | [`backing`] | guest memory behind a resource: any number of pieces |
//! | [`surface`] | a 2D resource: pixels of the host |
//! | [`picture`] | what a scanout shows |
//!
//! # Threats
//!
//! | from | threat | answer |
//! |---|---|---|
//! | driver | rectangles, offsets and strides that overflow | 64-bit arithmetic, checked once before anything is copied |
//! | driver | backing outside guest memory, or shorter than what is asked for | refused before anything is copied |
//! | driver | pixels changed while they are copied | they are copied once, and only moved |
//! | driver | copies that take long | each looks at its [`Cancel`] after each row |

pub mod backing;
pub mod cancel;
pub mod error;
pub mod format;
pub mod picture;
pub mod rect;
pub mod surface;

pub use backing::{Backing, Piece};
pub use cancel::Cancel;
pub use error::CopyError;
pub use format::Format;
pub use picture::{MemoryImage, Picture, Wait};
pub use rect::Rect;
pub use surface::Surface;

/// Bytes of a pixel, in every format (5.7.6.8).
pub const PIXEL: usize = 4;
