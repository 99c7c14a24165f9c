//! Which chains the device holds.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::sync::AtomicBool;

/// One flag per descriptor: true while the device holds the chain that begins there.
///
/// A flag is a baton between the one [`Popper`](super::Popper) and the one [`Pusher`](super::Pusher):
/// only the popper sets it, and only when it is clear; only the pusher clears it, and only when it is
/// set. So plain loads and stores do, without read-modify-write. Relaxed ones do for an honest driver,
/// because the driver reuses a head after it saw `used.idx`, which the pusher releases after clearing;
/// a dishonest driver gets `HeadInFlight` a moment early or late.
#[derive(Debug, Clone)]
pub(super) struct Heads {
    flags: Arc<[AtomicBool]>,
}

impl Heads {
    pub(super) fn new(size: u16) -> Self {
        let flags = (0..size).map(|_| AtomicBool::new(false)).collect();
        Self { flags }
    }

    /// The popper takes a chain; false when it is held already. `head` is below the queue size.
    pub(super) fn take(&self, head: u16) -> bool {
        let flag = &self.flags[usize::from(head)];
        let free = !flag.load(Ordering::Relaxed);
        if free {
            flag.store(true, Ordering::Relaxed);
        }
        free
    }

    /// The pusher gives a chain back; false when it is not held.
    pub(super) fn give_back(&self, head: u16) -> bool {
        let Some(flag) = self.flags.get(usize::from(head)) else {
            return false;
        };
        let was_held = flag.load(Ordering::Relaxed);
        if was_held {
            flag.store(false, Ordering::Relaxed);
        }
        was_held
    }
}
