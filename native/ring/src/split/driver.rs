//! The driver's part of a split virtqueue.
//!
//! Descriptor table and available ring are written and never read back.

use std::sync::atomic::Ordering;

use crate::config::{Areas, QueueConfig};
use crate::descriptor_chain::Segment;
use crate::driver::Used;
use crate::error::RingError;
use crate::indirect::with_flags;
use crate::layout::{
    Descriptor, RING_FLAGS, RING_IDX, VIRTQ_AVAIL_F_NO_INTERRUPT, VIRTQ_DESC_F_INDIRECT,
    VIRTQ_DESC_F_NEXT, VIRTQ_USED_F_NO_NOTIFY, avail_offset, desc_offset, need_event, never_event,
    used_offset,
};
use crate::memory::{RingArea, RingMemory};
use crate::shadow::Shadow;

/// Writes descriptor table and available ring, reads the used ring.
pub(crate) struct DriverRing<M: RingMemory> {
    areas: Areas<M::Area>,
    size: u16,
    event_idx: bool,
    /// `avail.idx` once published.
    next: u16,
    /// Next entry of the used ring to pop.
    last_used: u16,
    /// `used.idx` as last read: entries before it may be popped.
    used_idx: u16,
}

impl<M: RingMemory> DriverRing<M> {
    /// Initialize the rings.
    pub(crate) fn new(areas: &Areas<M::Area>, config: &QueueConfig) -> Self {
        clear(areas, config.size);
        Self {
            areas: areas.clone(),
            size: config.size,
            event_idx: config.event_idx,
            next: 0,
            last_used: 0,
            used_idx: 0,
        }
    }

    /// Write a chain into free descriptors without publishing it. Returns the last descriptor.
    pub(crate) fn write_direct(
        &mut self,
        shadow: &Shadow,
        readable: &[Segment],
        writable: &[Segment],
    ) -> u16 {
        let head = shadow.head();
        let (mut tail, mut index) = (head, head);
        for (segment, flags) in with_flags(readable, writable) {
            let next = shadow.after(index);
            self.write(index, Self::table_entry(segment, flags, next));
            tail = index;
            index = next;
        }
        self.make_available(head);
        tail
    }

    /// Write a chain that is an indirect table, without publishing it.
    pub(crate) fn write_indirect(&mut self, head: u16, table: Segment) {
        self.write(head, Self::table_entry(&table, VIRTQ_DESC_F_INDIRECT, 0));
        self.make_available(head);
    }

    /// Encode a descriptor. `next` is 0 without `VIRTQ_DESC_F_NEXT`.
    pub(crate) fn table_entry(segment: &Segment, flags: u16, next: u16) -> [u64; 2] {
        let continued = flags & VIRTQ_DESC_F_NEXT != 0;
        let descriptor = Descriptor {
            addr: segment.addr,
            len: segment.len,
            flags,
            next: if continued { next } else { 0 },
        };
        descriptor.to_words()
    }

    /// Publish the written chains to the device.
    pub(crate) fn publish(&self) {
        // Release: descriptors, ring entries and what is in the buffers come before the index (2.7.13.3.1).
        self.areas
            .driver
            .store(RING_IDX, self.next, Ordering::Release);
    }

    /// True if the device wants a notification of the last `added` entries. A full fence has to precede.
    pub(crate) fn needs_notification(&self, added: u32) -> bool {
        let device = &self.areas.device;
        if self.event_idx {
            let event = device.load(used_offset(self.size), Ordering::Relaxed);
            need_event(event, self.next, added)
        } else {
            device.load(RING_FLAGS, Ordering::Relaxed) & VIRTQ_USED_F_NO_NOTIFY == 0
        }
    }

    /// True if a used chain is waiting to be popped.
    pub(crate) fn has_used(&self) -> bool {
        self.last_used != self.used_idx || self.load_used_idx() != self.last_used
    }

    /// Read the next used entry as the device wrote it, if there is one.
    pub(crate) fn next_used(&mut self, in_flight: u16) -> Result<Option<Used>, RingError> {
        // `used.idx` is read once for all the entries it shows.
        if self.last_used == self.used_idx && !self.refresh(in_flight)? {
            return Ok(None);
        }
        let slot = self.last_used % self.size;
        let offset = used_offset(slot);
        Ok(Some(Used {
            slot,
            id: self.areas.device.read_u32(offset),
            written: self.areas.device.read_u32(offset + 4),
        }))
    }

    /// Advance past one used entry.
    pub(crate) fn advance_used(&mut self) {
        self.last_used = self.last_used.wrapping_add(1);
    }

    /// Enable the interrupt for the next used chain. A full fence has to follow.
    pub(crate) fn enable_interrupts(&self) {
        if self.event_idx {
            self.set_used_event(self.last_used);
        } else {
            self.areas.driver.store(RING_FLAGS, 0, Ordering::Relaxed);
        }
    }

    /// Disable interrupts.
    pub(crate) fn disable_interrupts(&self) {
        if self.event_idx {
            self.set_used_event(never_event(self.last_used));
        } else {
            self.areas
                .driver
                .store(RING_FLAGS, VIRTQ_AVAIL_F_NO_INTERRUPT, Ordering::Relaxed);
        }
    }

    fn write(&self, index: u16, words: [u64; 2]) {
        self.areas
            .descriptors
            .write_descriptor(desc_offset(index), words);
    }

    fn make_available(&mut self, head: u16) {
        let slot = self.next % self.size;
        self.areas.driver.write_u16(avail_offset(slot), head);
        self.next = self.next.wrapping_add(1);
    }

    /// Read `used.idx`. True if a used chain waits.
    fn refresh(&mut self, in_flight: u16) -> Result<bool, RingError> {
        let (from, to) = (self.last_used, self.load_used_idx());
        let waiting = to.wrapping_sub(from);
        if waiting > in_flight {
            return Err(RingError::UsedIndexJumped {
                from,
                to,
                in_flight,
            });
        }
        self.used_idx = to;
        Ok(waiting > 0)
    }

    fn load_used_idx(&self) -> u16 {
        // Acquire pairs with the device's release: what the index shows (ring entries, and what the
        // device wrote into the buffers) was written before it.
        self.areas.device.load(RING_IDX, Ordering::Acquire)
    }

    fn set_used_event(&self, event: u16) {
        let offset = avail_offset(self.size);
        self.areas.driver.store(offset, event, Ordering::Relaxed);
    }
}

/// Clear the rings: nothing available, nothing used, notifications enabled (the driver has to clear
/// `used.flags` too: 2.7.10.1).
fn clear<A: RingArea>(areas: &Areas<A>, size: u16) {
    for index in 0..size {
        areas
            .descriptors
            .write_descriptor(desc_offset(index), [0; 2]);
        areas.driver.write_u16(avail_offset(index), 0);
        areas.device.write_u32(used_offset(index), 0);
        areas.device.write_u32(used_offset(index) + 4, 0);
    }
    for offset in [RING_FLAGS, RING_IDX, avail_offset(size)] {
        areas.driver.store(offset, 0, Ordering::Relaxed);
    }
    for offset in [RING_FLAGS, RING_IDX, used_offset(size)] {
        areas.device.store(offset, 0, Ordering::Relaxed);
    }
}
