//! What other threads tell the thread that runs the hart.
//!
//! Invariant: whoever sets a bit or a flag here does it first, then sets `kick`, and then signals `wake`.
//! The hart's thread clears `kick` before it looks at the bits, and drains `wake` before it sleeps; it
//! looks at bits and flags after either. So nothing is told without being seen.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use virtmesh_device::EventFd;

/// Most slots of a board: one bit of [`Slots`] for each.
pub const SLOTS_MAX: usize = 128;

/// A set of slots: bit N is slot N.
pub type Slots = u128;

/// Flags and bits, set from any thread.
#[derive(Debug)]
pub struct Notifier {
    /// The hart is to leave its loop; it looks every few thousand instructions.
    pub(crate) kick: AtomicBool,
    /// The run is to end.
    stop: AtomicBool,
    /// Slots whose line eventfd was signalled.
    lines: SlotWords,
    /// Slots whose connection ended.
    ended: SlotWords,
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
            lines: SlotWords::default(),
            ended: SlotWords::default(),
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
        self.lines.set(slot);
        self.interrupt();
    }

    /// The connection of a slot may have ended.
    pub fn connection_ended(&self, slot: usize) {
        self.ended.set(slot);
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
    pub(crate) fn take_lines(&self) -> Slots {
        self.lines.take()
    }

    /// Return the slots of connections that may have ended, and forget them.
    pub(crate) fn take_ended(&self) -> Slots {
        self.ended.take()
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

/// A set of slots that any thread adds to. No processor changes 128 bits at once by an instruction that Rust
/// has, and nothing needs it: a slot is in one word, and no rule joins two slots.
#[derive(Debug, Default)]
struct SlotWords([AtomicU64; WORDS]);

/// Words of a set.
const WORDS: usize = SLOTS_MAX / WORD_BITS;
const WORD_BITS: usize = u64::BITS as usize;

impl SlotWords {
    fn set(&self, slot: usize) {
        debug_assert!(slot < SLOTS_MAX, "the board has no such slot");
        let word = &self.0[slot / WORD_BITS % WORDS];
        word.fetch_or(1 << (slot % WORD_BITS), Ordering::SeqCst);
    }

    /// Take all of them. The common case, none, costs a load for each word.
    fn take(&self) -> Slots {
        let words = self.0.iter().enumerate();
        words.fold(0, |slots, (number, word)| {
            if word.load(Ordering::SeqCst) == 0 {
                return slots;
            }
            let bits = Slots::from(word.swap(0, Ordering::SeqCst));
            slots | bits << (number * WORD_BITS)
        })
    }
}
