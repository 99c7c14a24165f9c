//! Long transfers, in pieces between which a reset can end them.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// A reset abandoned the request.
#[derive(Debug, thiserror::Error)]
#[error("a reset abandoned the request")]
pub(super) struct Abandoned;

/// Do `action` (start, length) for each piece of a length, at least once. An error ends it, and so does
/// `abandoned`.
pub(super) fn in_pieces(
    length: u64,
    piece: u64,
    abandoned: &AtomicBool,
    mut action: impl FnMut(u64, u64) -> io::Result<()>,
) -> io::Result<()> {
    let mut start = 0;
    loop {
        if abandoned.load(Ordering::Relaxed) {
            return Err(io::Error::other(Abandoned));
        }
        let now = piece.min(length - start);
        action(start, now)?;
        start += now;
        if start >= length {
            return Ok(());
        }
    }
}
