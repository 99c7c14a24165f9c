//! Which chains the device holds.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::sync::AtomicU16;

/// For each name of a chain, how many entries of the used ring it takes while the device holds it; 0
/// when it does not.
///
/// A number is a baton between the one [`Popper`](crate::Popper) and the one [`Pusher`](crate::Pusher):
/// only the popper sets it, and only when it is 0; only the pusher clears it, and only when it is not.
/// So plain loads and stores do, without read-modify-write. Relaxed ones do for an honest driver, because
/// the driver reuses a name after it saw the chain used, which the pusher publishes after clearing; a
/// dishonest driver is found out a moment early or late.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    entries: Arc<[AtomicU16]>,
}

impl Held {
    pub(crate) fn new(size: u16) -> Self {
        let entries = (0..size).map(|_| AtomicU16::new(0)).collect();
        Self { entries }
    }

    /// The popper takes a chain; false when it is held already. `name` is below the queue size.
    pub(crate) fn take(&self, name: u16, entries: u16) -> bool {
        let held = &self.entries[usize::from(name)];
        let free = held.load(Ordering::Relaxed) == 0;
        if free {
            held.store(entries, Ordering::Relaxed);
        }
        free
    }

    /// The pusher gives a chain back; returns its entries. None when it is not held.
    pub(crate) fn give_back(&self, name: u16) -> Option<u16> {
        let held = self.entries.get(usize::from(name))?;
        let entries = held.load(Ordering::Relaxed);
        if entries == 0 {
            return None;
        }
        held.store(0, Ordering::Relaxed);
        Some(entries)
    }
}
