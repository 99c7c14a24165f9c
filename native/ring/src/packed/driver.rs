//! The driver's part of a packed virtqueue.

use std::sync::atomic::Ordering;

use super::event_suppression::EventSuppressArea;
use crate::config::{Areas, QueueConfig};
use crate::descriptor_chain::Segment;
use crate::driver::Used;
use crate::indirect::with_flags;
use crate::layout::packed::{EventSuppress, Position, WORD_OFFSET, Word, available_flags};
use crate::layout::{VIRTQ_DESC_F_INDIRECT, VIRTQ_DESC_F_WRITE, desc_offset};
use crate::memory::{RingArea, RingMemory};

/// Writes available descriptors, and reads used ones.
pub(crate) struct DriverRing<M: RingMemory> {
    descriptors: M::Area,
    driver_events: EventSuppressArea<M::Area>,
    device_events: EventSuppressArea<M::Area>,
    size: u16,
    /// Next entry to make available.
    next: Position,
    /// Offset and value of the first word of a batch. Storing it publishes the batch to the device.
    first: Option<(usize, u64)>,
    /// Next entry that the device will use.
    next_used: Position,
}

impl<M: RingMemory> DriverRing<M> {
    /// Initialize the ring: nothing available, nothing used, notifications enabled.
    pub(crate) fn new(areas: &Areas<M::Area>, config: &QueueConfig) -> Self {
        let QueueConfig {
            size, event_idx, ..
        } = *config;
        let enabled = EventSuppress::from_bits(0).to_bits();
        for area in [&areas.driver, &areas.device] {
            area.store_u32(0, enabled, Ordering::Relaxed);
        }
        for index in 0..size {
            let offset = desc_offset(index);
            areas.descriptors.write_u64(offset, 0);
            areas
                .descriptors
                .store_u64(offset + WORD_OFFSET, 0, Ordering::Relaxed);
        }
        Self {
            descriptors: areas.descriptors.clone(),
            driver_events: EventSuppressArea::new(areas.driver.clone(), size, event_idx),
            device_events: EventSuppressArea::new(areas.device.clone(), size, event_idx),
            size,
            next: Position::START,
            first: None,
            next_used: Position::START,
        }
    }

    /// Write a chain into free entries, without publishing it.
    pub(crate) fn write_direct(&mut self, id: u16, readable: &[Segment], writable: &[Segment]) {
        // The first word of this chain goes in last.
        let mut head = None;
        for (segment, flags) in with_flags(readable, writable) {
            let place = self.write(id, *segment, flags);
            if head.is_none() {
                head = Some(place);
            } else {
                self.store(place, Ordering::Relaxed);
            }
        }
        if let Some(place) = head {
            self.make_available(place);
        }
    }

    /// Write a chain that is an indirect table, without publishing it.
    pub(crate) fn write_indirect(&mut self, id: u16, table: Segment) {
        let place = self.write(id, table, VIRTQ_DESC_F_INDIRECT);
        self.make_available(place);
    }

    /// Encode an entry of an indirect table: of the flags, only `VIRTQ_DESC_F_WRITE` is valid (2.8.7).
    pub(crate) fn table_entry(segment: &Segment, flags: u16, _next: u16) -> [u64; 2] {
        let word = Word {
            len: segment.len,
            id: 0,
            flags: flags & VIRTQ_DESC_F_WRITE,
        };
        [segment.addr, word.to_bits()]
    }

    /// Publish the written chains to the device.
    pub(crate) fn publish(&mut self) {
        if let Some(place) = self.first.take() {
            // Release: the other words, the addresses, and what is in the buffers come before this one
            // (2.8.21.1.1).
            self.store(place, Ordering::Release);
        }
    }

    /// True if the device wants a notification of the last `added` entries. A full fence has to precede.
    pub(crate) fn needs_notification(&self, added: u32) -> bool {
        self.device_events.is_wanted(self.next, added)
    }

    /// True if a used chain is waiting to be popped.
    pub(crate) fn has_used(&self) -> bool {
        self.used().is_some()
    }

    /// Read the next used descriptor as the device wrote it, if there is one.
    pub(crate) fn next_used(&self) -> Option<Used> {
        let word = self.used()?;
        let written = word.has(VIRTQ_DESC_F_WRITE);
        Some(Used {
            slot: self.next_used.index,
            id: word.id.into(),
            // The length means something only with the flag (2.8.4).
            written: if written { word.len } else { 0 },
        })
    }

    /// Advance past a used chain of `entries`.
    pub(crate) fn advance_used(&mut self, entries: u16) {
        self.next_used = self.next_used.plus(entries, self.size);
    }

    /// Enable the interrupt for the next used chain. A full fence has to follow.
    pub(crate) fn enable_interrupts(&self) {
        self.driver_events.enable(self.next_used);
    }

    /// Disable interrupts.
    pub(crate) fn disable_interrupts(&self) {
        self.driver_events.disable();
    }

    /// Write the address of the next entry. Returns the offset and the value of its word, not stored yet.
    fn write(&mut self, id: u16, segment: Segment, flags: u16) -> (usize, u64) {
        let offset = desc_offset(self.next.index);
        self.descriptors.write_u64(offset, segment.addr);
        let word = Word {
            len: segment.len,
            id,
            flags: flags | available_flags(self.next.wrap),
        };
        self.next = self.next.plus(1, self.size);
        (offset + WORD_OFFSET, word.to_bits())
    }

    /// Make a chain available whose other words are stored: at once, or by `publish` if it is the first
    /// of its batch.
    fn make_available(&mut self, place: (usize, u64)) {
        if self.first.is_none() {
            self.first = Some(place);
        } else {
            // The device gets here only past the first word, whose release comes later; and a device
            // that reads ahead is served by this one.
            self.store(place, Ordering::Release);
        }
    }

    fn store(&self, (offset, word): (usize, u64), order: Ordering) {
        self.descriptors.store_u64(offset, word, order);
    }

    /// The word at the used position, if the device used it.
    fn used(&self) -> Option<Word> {
        // Acquire pairs with the device's release: what it wrote into the buffers came before.
        let offset = desc_offset(self.next_used.index) + WORD_OFFSET;
        let word = Word::from_bits(self.descriptors.load_u64(offset, Ordering::Acquire));
        word.is_used(self.next_used.wrap).then_some(word)
    }
}
