//! Ending copies early.

use std::sync::atomic::{AtomicBool, Ordering};

/// Ends the copies that look at it. Once set, it stays.
#[derive(Debug, Default)]
pub struct Cancel(AtomicBool);

impl Cancel {
    /// End the copies.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed); // It orders nothing: it is a hint.
    }

    /// True once it is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
