//! What other threads tell the thread that runs the hart.
//!
//! Invariant: whoever sets a bit or a flag here does it first, then sets `kick`, and then signals `wake`.
//! The hart's thread clears `kick` before it looks at the bits, and drains `wake` before it sleeps; it
//! looks at bits and flags after either. So nothing is told without being seen.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use virtmesh_device::EventFd;

/// Most slots of a board: one bit of a word for each.
pub const SLOTS_MAX: usize = 64;

/// Flags and bits, set from any thread.
#[derive(Debug)]
pub struct Notifier {
    /// The hart is to leave its loop; it looks every few thousand instructions.
    pub(crate) kick: AtomicBool,
    /// The run is to end.
    stop: AtomicBool,
    /// Slots whose line eventfd was signalled.
    lines: AtomicU64,
    /// Slots whose connection ended.
    ended: AtomicU64,
    wake: EventFd,
}

impl Notifier {
    /// Make one with nothing to tell.
    ///
    /// # Errors
    /// When the process or the system has no descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            kick: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            lines: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            wake: EventFd::new()?,
        })
    }

    /// End the current run, or the next one if none is under way.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.interrupt();
    }

    /// The line of a slot may have changed.
    pub fn line_changed(&self, slot: usize) {
        self.lines.fetch_or(bit(slot), Ordering::SeqCst);
        self.interrupt();
    }

    /// The connection of a slot may have ended.
    pub fn connection_ended(&self, slot: usize) {
        self.ended.fetch_or(bit(slot), Ordering::SeqCst);
        self.interrupt();
    }

    /// Say whether the run is to end, and forget that.
    pub(crate) fn take_stop(&self) -> bool {
        self.stop.swap(false, Ordering::SeqCst)
    }

    /// Say whether the run is to end.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Return the slots of lines that may have changed, and forget them.
    pub(crate) fn take_lines(&self) -> u64 {
        take(&self.lines)
    }

    /// Return the slots of connections that may have ended, and forget them.
    pub(crate) fn take_ended(&self) -> u64 {
        take(&self.ended)
    }

    /// Readable after anything was told.
    pub(crate) fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    pub(crate) fn drain_wake(&self) {
        self.wake.drain();
    }

    fn interrupt(&self) {
        self.kick.store(true, Ordering::SeqCst);
        self.wake.signal();
    }
}

/// Take the bits of a word. The common case, no bit, costs a load.
fn take(word: &AtomicU64) -> u64 {
    if word.load(Ordering::SeqCst) == 0 {
        return 0;
    }
    word.swap(0, Ordering::SeqCst)
}

fn bit(slot: usize) -> u64 {
    debug_assert!(slot < SLOTS_MAX, "the board has no such slot");
    1 << (slot % SLOTS_MAX)
}
