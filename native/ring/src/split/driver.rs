//! The driver side of a split virtqueue.
//!
//! Descriptor table and available ring are written and never read back: which descriptors are free, and
//! which belong to a chain, is known from a copy that the device can't reach.

use std::sync::atomic::Ordering;

use super::shadow::{InFlight, Shadow};
use super::writer::{IndirectTables, write_direct};
use crate::chain::Segment;
use crate::error::{ConfigError, RingError};
use crate::layout::{
    Areas, MAX_CHAIN_BYTES, QueueConfig, RING_FLAGS, RING_IDX, VIRTQ_AVAIL_F_NO_INTERRUPT,
    VIRTQ_USED_F_NO_NOTIFY, avail_offset, desc_offset, need_event, never_event, used_offset,
};
use crate::memory::{GuestRam, RingArea, RingMemory};

/// Adds chains, takes used ones back.
pub struct DriverQueue<M: RingMemory = GuestRam> {
    memory: M,
    areas: Areas<M::Area>,
    config: QueueConfig,
    tables: Option<IndirectTables<M::Area>>,
    shadow: Shadow,
    /// `avail.idx` once published.
    next_avail: u16,
    /// Chains published since the device's wish was last looked at.
    added: u32,
    /// Next entry of the used ring to take.
    last_used: u16,
    /// `used.idx` as last read: entries before it are ours to take.
    used_idx: u16,
    broken: Option<RingError>,
}

impl<M: RingMemory> DriverQueue<M> {
    /// Clear the rings and begin at index 0. Do this before the device learns of the queue.
    ///
    /// `indirect_area` is the guest address, aligned to 16, of `size * indirect_entries` descriptors
    /// for indirect tables; None for direct chains only. Interrupts are asked for to begin with.
    ///
    /// # Errors
    /// Those of [`QueueConfig::validate`], for the indirect area too; `IndirectNotNegotiated`;
    /// `NoIndirectEntries`.
    pub fn new(
        memory: M,
        config: QueueConfig,
        indirect_area: Option<u64>,
        indirect_entries: u16,
    ) -> Result<Self, ConfigError> {
        let areas = config.resolve(&memory)?;
        let tables = indirect_area
            .map(|address| IndirectTables::resolve(&memory, &config, address, indirect_entries))
            .transpose()?;
        let size = config.size;
        clear(&areas, size);
        Ok(Self {
            memory,
            areas,
            config,
            tables,
            shadow: Shadow::new(size),
            next_avail: 0,
            added: 0,
            last_used: 0,
            used_idx: 0,
            broken: None,
        })
    }

    /// Descriptors that are free.
    #[must_use]
    pub fn free(&self) -> u16 {
        self.shadow.free()
    }

    /// Chains added and not taken back.
    #[must_use]
    pub fn in_flight(&self) -> u16 {
        self.shadow.in_flight()
    }

    /// Add one chain and publish it. Returns its head, a token unique among chains in flight; None
    /// when there is no room now.
    ///
    /// The table of an indirect chain is used where one fits and saves descriptors.
    ///
    /// # Errors
    /// `EmptyChain`, `EmptySegment`, `ChainTooLong`, `ChainTooLarge`, `BufferOutsideMemory`: nothing
    /// was added, and the queue stays usable. A broken queue returns what broke it.
    pub fn add(
        &mut self,
        readable: &[Segment],
        writable: &[Segment],
    ) -> Result<Option<u16>, RingError> {
        let head = self.place(readable, writable)?;
        if head.is_some() {
            self.publish();
        }
        Ok(head)
    }

    /// Add chains (readable, writable) in order until one finds no room, and publish them all at once.
    /// Their heads go onto the end of `heads`; returns how many were added.
    ///
    /// # Errors
    /// As [`add`](Self::add). The chains before the bad one were added, and are in `heads`.
    pub fn add_batch<'a>(
        &mut self,
        chains: impl IntoIterator<Item = (&'a [Segment], &'a [Segment])>,
        heads: &mut Vec<u16>,
    ) -> Result<usize, RingError> {
        let before = heads.len();
        let mut outcome = Ok(());
        for (readable, writable) in chains {
            match self.place(readable, writable) {
                Ok(Some(head)) => heads.push(head),
                Ok(None) => break,
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        let added = heads.len() - before;
        if added > 0 {
            self.publish();
        }
        outcome.map(|()| added)
    }

    /// Say whether the device wants a notification for what was added since this was last asked
    /// (2.7.10.1). Ask after adding.
    pub fn should_notify(&mut self) -> bool {
        let added = std::mem::take(&mut self.added);
        if added == 0 {
            return false;
        }
        // Race: the device asks for notifications, sees no chain and sleeps, while we read its old wish
        // and don't notify. With this fence between publishing and reading, and the device's in
        // `Popper::enable_notifications`, one of us sees the other.
        self.memory.full_fence();
        let device = &self.areas.device;
        if self.config.event_idx {
            let event = device.load(used_offset(self.config.size), Ordering::Relaxed);
            need_event(event, self.next_avail, added)
        } else {
            device.load(RING_FLAGS, Ordering::Relaxed) & VIRTQ_USED_F_NO_NOTIFY == 0
        }
    }

    /// Say whether a used chain waits.
    #[must_use]
    pub fn can_pop(&self) -> bool {
        self.last_used != self.used_idx || self.load_used_idx() != self.last_used
    }

    /// Take the next used chain: its head, and the bytes the device wrote. None when there is none.
    ///
    /// # Errors
    /// The rule the device broke; from then on the same error always.
    pub fn pop_used(&mut self) -> Result<Option<(u16, u32)>, RingError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        self.take().inspect_err(|error| self.broken = Some(*error))
    }

    /// Take up to `max` used chains onto the end of `used`; returns how many.
    ///
    /// # Errors
    /// As [`pop_used`](Self::pop_used). Chains before the bad one are in `used`.
    pub fn pop_used_batch(
        &mut self,
        max: usize,
        used: &mut Vec<(u16, u32)>,
    ) -> Result<usize, RingError> {
        for taken in 0..max {
            match self.pop_used()? {
                Some(entry) => used.push(entry),
                None => return Ok(taken),
            }
        }
        Ok(max)
    }

    /// Ask for an interrupt at the next used chain. True when one waits already: then take it, and
    /// don't wait for an interrupt, which may not come.
    ///
    /// With `VIRTIO_F_EVENT_IDX` this holds for one interrupt; ask again before each wait.
    #[must_use]
    pub fn enable_interrupts(&mut self) -> bool {
        if self.config.event_idx {
            self.set_used_event(self.last_used);
        } else {
            self.areas.driver.store(RING_FLAGS, 0, Ordering::Relaxed);
        }
        // Race: the device uses a chain and, seeing the old word, doesn't interrupt, while we see
        // nothing used and sleep. With this fence between our store and the load below, and the
        // device's in `Pusher::needs_interrupt`, one of us sees the other.
        self.memory.full_fence();
        self.can_pop()
    }

    /// Ask for no interrupts while used chains are being taken anyway. A hint: some may still come.
    pub fn disable_interrupts(&mut self) {
        if self.config.event_idx {
            self.set_used_event(never_event(self.last_used));
        } else {
            self.areas
                .driver
                .store(RING_FLAGS, VIRTQ_AVAIL_F_NO_INTERRUPT, Ordering::Relaxed);
        }
    }

    /// Write a chain into descriptors and available ring, without publishing it.
    fn place(
        &mut self,
        readable: &[Segment],
        writable: &[Segment],
    ) -> Result<Option<u16>, RingError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let (segments, writable_bytes) = self.check(readable, writable)?;
        let tables = self.tables.as_ref().filter(|tables| tables.suit(segments));
        let count = if tables.is_some() { 1 } else { segments };
        if count > self.shadow.free() {
            return Ok(None);
        }
        let head = self.shadow.head();
        let descriptors = &self.areas.descriptors;
        let tail = if let Some(tables) = tables {
            tables.write(descriptors, head, readable, writable);
            head
        } else {
            write_direct(descriptors, &self.shadow, readable, writable)
        };
        self.shadow.put_in_flight(InFlight {
            count,
            tail,
            writable: writable_bytes,
        });
        let slot = self.next_avail % self.config.size;
        self.areas.driver.write_u16(avail_offset(slot), head);
        self.next_avail = self.next_avail.wrapping_add(1);
        self.added = self.added.saturating_add(1);
        Ok(Some(head))
    }

    /// Check a chain to be added; returns its buffers and its device-writable bytes.
    fn check(&self, readable: &[Segment], writable: &[Segment]) -> Result<(u16, u64), RingError> {
        let (head, size) = (self.shadow.head(), self.config.size);
        let segments = u16::try_from(readable.len().saturating_add(writable.len()))
            .ok()
            .filter(|segments| *segments <= size)
            .ok_or(RingError::ChainTooLong { head, size })?;
        if segments == 0 {
            return Err(RingError::EmptyChain);
        }
        for &Segment {
            addr: address,
            len: length,
        } in readable.iter().chain(writable)
        {
            if length == 0 {
                return Err(RingError::EmptySegment { address });
            }
            if !self.memory.contains(address, length.into()) {
                return Err(RingError::BufferOutsideMemory {
                    head,
                    address,
                    length,
                });
            }
        }
        // No overflow: at most 32768 buffers below 2^32 each.
        let bytes = |segments: &[Segment]| segments.iter().map(|s| u64::from(s.len)).sum::<u64>();
        let writable_bytes = bytes(writable);
        if bytes(readable) + writable_bytes > MAX_CHAIN_BYTES {
            return Err(RingError::ChainTooLarge { head });
        }
        Ok((segments, writable_bytes))
    }

    /// Show the device all chains placed so far.
    fn publish(&self) {
        // Release: descriptors, ring entries and what is in the buffers come before the index (2.7.13.3.1).
        self.areas
            .driver
            .store(RING_IDX, self.next_avail, Ordering::Release);
    }

    fn take(&mut self) -> Result<Option<(u16, u32)>, RingError> {
        // `used.idx` is read once for all the entries it shows.
        if self.last_used == self.used_idx && !self.refresh()? {
            return Ok(None);
        }
        let size = self.config.size;
        let slot = self.last_used % size;
        let offset = used_offset(slot);
        let id = self.areas.device.read_u32(offset);
        let written = self.areas.device.read_u32(offset + 4);
        let head = u16::try_from(id)
            .ok()
            .filter(|head| *head < size)
            .ok_or(RingError::UsedIdOutOfRange { slot, id, size })?;
        let chain = self
            .shadow
            .get(head)
            .ok_or(RingError::UsedIdNotInFlight { slot, head })?;
        let writable = chain.writable;
        if u64::from(written) > writable {
            return Err(RingError::UsedLengthTooLarge {
                head,
                written,
                writable,
            });
        }
        self.shadow.take_back(head, chain);
        self.last_used = self.last_used.wrapping_add(1);
        Ok(Some((head, written)))
    }

    /// Read `used.idx`; true when a used chain waits.
    fn refresh(&mut self) -> Result<bool, RingError> {
        let idx = self.load_used_idx();
        let (from, in_flight) = (self.last_used, self.shadow.in_flight());
        let waiting = idx.wrapping_sub(from);
        if waiting > in_flight {
            return Err(RingError::UsedIndexJumped {
                from,
                to: idx,
                in_flight,
            });
        }
        self.used_idx = idx;
        Ok(waiting > 0)
    }

    fn load_used_idx(&self) -> u16 {
        // Acquire pairs with the device's release: what the index shows (ring entries, and what the
        // device wrote into the buffers) was written before it.
        self.areas.device.load(RING_IDX, Ordering::Acquire)
    }

    fn set_used_event(&self, event: u16) {
        let offset = avail_offset(self.config.size);
        self.areas.driver.store(offset, event, Ordering::Relaxed);
    }
}

/// Bring the rings to their first state: nothing available, nothing used, notifications wanted (the
/// driver has to clear `used.flags` too: 2.7.10.1).
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
