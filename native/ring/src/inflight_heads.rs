//! Which chains the device holds.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::sync::AtomicU16;

/// For each name of a chain, how many entries of the used ring it takes while the device holds it; 0
/// when it does not.
///
/// A number is a baton between the one [`AvailConsumer`](crate::AvailConsumer) and the one [`UsedProducer`](crate::UsedProducer):
/// only the consumer sets it, and only when it is 0; only the producer clears it, and only when it is not.
/// So plain loads and stores do, without read-modify-write. Relaxed ones do for an honest driver, because
/// the driver reuses a name after it saw the chain used, which the producer publishes after clearing; a
/// dishonest driver is found out a moment early or late.
#[derive(Debug, Clone)]
pub(crate) struct InflightHeads {
    entries: Arc<[AtomicU16]>,
}

impl InflightHeads {
    pub(crate) fn new(size: u16) -> Self {
        let entries = (0..size).map(|_| AtomicU16::new(0)).collect();
        Self { entries }
    }

    /// The consumer takes a chain; false when it is held already. `name` is below the queue size.
    pub(crate) fn insert(&self, name: u16, entries: u16) -> bool {
        let slot = &self.entries[usize::from(name)];
        let free = slot.load(Ordering::Relaxed) == 0;
        if free {
            slot.store(entries, Ordering::Relaxed);
        }
        free
    }

    /// The producer gives a chain back; returns its entries. None when it is not held.
    pub(crate) fn remove(&self, name: u16) -> Option<u16> {
        let slot = self.entries.get(usize::from(name))?;
        let entries = slot.load(Ordering::Relaxed);
        if entries == 0 {
            return None;
        }
        slot.store(0, Ordering::Relaxed);
        Some(entries)
    }
}
