//! The heads of the chains that are in flight: popped by the device and not pushed yet.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::sync::AtomicU16;

/// For each head, the number of ring entries that its chain takes while it is in flight; 0 while it is
/// not. The head is the first descriptor in a split ring, the buffer ID in a packed one.
///
/// Ownership of a slot alternates between the one [`AvailConsumer`](crate::AvailConsumer) and the one
/// [`UsedProducer`](crate::UsedProducer): only the consumer sets it, and only when it is 0; only the
/// producer clears it, and only when it is not 0. Hence no read-modify-write is needed. Relaxed ordering
/// is enough for an honest driver: it reuses a head only after it saw the chain used, and the producer
/// publishes that after clearing the slot. A dishonest driver is found out a moment early or late.
#[derive(Debug, Clone)]
pub(crate) struct InflightHeads {
    entries: Arc<[AtomicU16]>,
}

impl InflightHeads {
    pub(crate) fn new(size: u16) -> Self {
        let entries = (0..size).map(|_| AtomicU16::new(0)).collect();
        Self { entries }
    }

    /// Called by the consumer. Returns false if the chain is in flight already. `head` is below the
    /// queue size.
    pub(crate) fn insert(&self, head: u16, entries: u16) -> bool {
        let slot = &self.entries[usize::from(head)];
        let free = slot.load(Ordering::Relaxed) == 0;
        if free {
            slot.store(entries, Ordering::Relaxed);
        }
        free
    }

    /// Called by the producer. Returns the ring entries of the chain; None if it is not in flight.
    pub(crate) fn remove(&self, head: u16) -> Option<u16> {
        let slot = self.entries.get(usize::from(head))?;
        let entries = slot.load(Ordering::Relaxed);
        if entries == 0 {
            return None;
        }
        slot.store(0, Ordering::Relaxed);
        Some(entries)
    }
}
