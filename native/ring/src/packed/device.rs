//! The device's halves of a packed virtqueue, which may run on two threads.
//!
//! Invariant: the used position never passes the available one, so that the writer overwrites only
//! entries that the reader has copied out. The reader's check that the ring is not overrun keeps it so
//! whatever the driver writes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::event_suppression::EventSuppressArea;
use crate::chain_builder::{ChainBuilder, ChainLimits};
use crate::config::{Areas, QueueConfig};
use crate::descriptor_chain::Chain;
use crate::error::{ConfigError, RingError};
use crate::inflight::{LogRegion, LoggedChain, PackedDescriptor, PackedLog, SharedLog};
use crate::inflight_heads::InflightHeads;
use crate::layout::packed::{Position, WORD_OFFSET, Word, used_flags};
use crate::layout::{
    DESC_SIZE, VIRTQ_DESC_F_INDIRECT, VIRTQ_DESC_F_NEXT, VIRTQ_DESC_F_WRITE, desc_offset,
};
use crate::memory::{RingArea, RingMemory};
use crate::state::{AvailState, PackedStart, RingState};
use crate::sync::AtomicU32;

/// Reads available descriptors.
pub(crate) struct AvailReader<M: RingMemory> {
    descriptors: M::Area,
    events: EventSuppressArea<M::Area>,
    limits: ChainLimits,
    inflight_heads: InflightHeads,
    log: Option<SharedLog<PackedLog<M::Area>>>,
    /// Chains that an earlier device side popped and did not push, oldest first.
    resubmits: VecDeque<LoggedChain>,
    /// The descriptors of the chain that is being popped. Kept only if there is a log.
    chain_descriptors: Vec<PackedDescriptor>,
    /// Next entry to pop.
    next: Position,
    /// Entries popped, free-running.
    entries_taken: u32,
    /// Entries used, free-running. Written by the writer.
    entries_used: Arc<AtomicU32>,
}

/// Writes used descriptors.
pub(crate) struct UsedWriter<M: RingMemory> {
    descriptors: M::Area,
    events: EventSuppressArea<M::Area>,
    size: u16,
    log: Option<SharedLog<PackedLog<M::Area>>>,
    /// Next entry to use.
    next: Position,
    /// Offset and value of the first word of a batch. Storing it publishes the batch to the driver.
    first: Option<(usize, u64)>,
    /// Entries used, free-running.
    entries_used: Arc<AtomicU32>,
}

/// Make both halves.
pub(crate) fn halves<M: RingMemory>(
    areas: &Areas<M::Area>,
    config: &QueueConfig,
    inflight_heads: InflightHeads,
    log: Option<&LogRegion<M>>,
) -> Result<(AvailReader<M>, UsedWriter<M>), ConfigError> {
    let mut start = PackedStart::from_config(config)?;
    let mut resubmits = VecDeque::new();
    let log = match log {
        None => None,
        Some(region) => {
            let (area, ring) = (region.resolve(config)?, &areas.descriptors);
            let (log, chains) = PackedLog::open(area, config, region.capacity, ring, &mut start)?;
            for chain in &chains {
                inflight_heads.insert(chain.id, chain.entries());
            }
            resubmits = chains.into();
            Some(SharedLog::new(log))
        }
    };
    let QueueConfig {
        size, event_idx, ..
    } = *config;
    let entries_used = Arc::new(AtomicU32::new(0));
    let reader = AvailReader {
        descriptors: areas.descriptors.clone(),
        events: EventSuppressArea::new(areas.device.clone(), size, event_idx),
        limits: ChainLimits::from_config(config),
        inflight_heads,
        log: log.clone(),
        resubmits,
        chain_descriptors: Vec::new(),
        next: start.avail,
        entries_taken: start.in_flight.into(),
        entries_used: Arc::clone(&entries_used),
    };
    let writer = UsedWriter {
        descriptors: areas.descriptors.clone(),
        events: EventSuppressArea::new(areas.driver.clone(), size, event_idx),
        size,
        log,
        next: start.used,
        first: None,
        entries_used,
    };
    Ok((reader, writer))
}

impl<M: RingMemory> AvailReader<M> {
    /// Pop the next available chain into an empty one. False if there is none.
    pub(crate) fn pop(&mut self, memory: &M, chain: &mut Chain) -> Result<bool, RingError> {
        let Some(first) = self.available() else {
            return Ok(false);
        };
        let (size, head) = (self.limits.size, self.next.index);
        let mut builder = ChainBuilder::new(memory, self.limits, head, chain);
        self.chain_descriptors.clear();
        let (mut position, mut word, mut entries) = (self.next, first, 1);
        loop {
            let index = position.index;
            // The driver wrote this before the first word, which was loaded with acquire.
            let address = self.descriptors.read_u64(desc_offset(index));
            if self.log.is_some() {
                self.chain_descriptors.push((address, word));
            }
            if !self.add(&mut builder, (head, index), (address, word))? {
                break;
            }
            // No endless loop, no overflow: `add` refuses a chain longer than the queue size.
            entries += 1;
            position = position.plus(1, size);
            word = self.load(position, Ordering::Relaxed);
            if !word.is_available(position.wrap) {
                let index = position.index;
                return Err(RingError::ChainNotAvailable { head, index });
            }
        }
        let (index, id) = (position.index, word.id);
        self.hold(index, id, entries)?;
        if let Some(log) = &self.log
            && !log.lock().mark_inflight(id, &self.chain_descriptors)
        {
            return Err(RingError::BufferIdInFlight { index, id });
        }
        builder.finish(id);
        self.next = self.next.plus(entries, size);
        Ok(true)
    }

    /// Pop the next chain to resubmit into an empty one. False if there is none.
    pub(crate) fn pop_resubmit(
        &mut self,
        memory: &M,
        chain: &mut Chain,
    ) -> Result<bool, RingError> {
        let Some(LoggedChain { id, descriptors }) = self.resubmits.pop_front() else {
            return Ok(false);
        };
        let mut builder = ChainBuilder::new(memory, self.limits, 0, chain);
        for (index, taken) in (0..).zip(descriptors) {
            if !self.add(&mut builder, (0, index), taken)? {
                break;
            }
        }
        builder.finish(id);
        Ok(true)
    }

    /// True if a chain is left to resubmit.
    pub(crate) fn has_resubmits(&self) -> bool {
        !self.resubmits.is_empty()
    }

    /// Allow up to `buffers` in an indirect table.
    pub(crate) fn allow_indirect_buffers(&mut self, buffers: u16) {
        self.limits.allow_indirect_buffers(buffers);
    }

    /// True if a chain is available.
    pub(crate) fn has_available(&self) -> bool {
        self.available().is_some()
    }

    /// Enable the notification of the next chain. A full fence has to follow.
    pub(crate) fn enable_notifications(&self) {
        self.events.enable(self.next);
    }

    /// Disable notifications.
    pub(crate) fn disable_notifications(&self) {
        self.events.disable();
    }

    /// The available half of the ring's state.
    pub(crate) fn state(&self) -> AvailState {
        let Position { index, wrap } = self.next;
        AvailState { index, wrap }
    }

    /// The word of the next descriptor, if it is available.
    fn available(&self) -> Option<Word> {
        // Acquire pairs with the driver's release: what the word shows (the rest of the chain, buffers)
        // was written before it.
        let word = self.load(self.next, Ordering::Acquire);
        word.is_available(self.next.wrap).then_some(word)
    }

    fn load(&self, position: Position, order: Ordering) -> Word {
        let offset = desc_offset(position.index) + WORD_OFFSET;
        Word::from_bits(self.descriptors.load_u64(offset, order))
    }

    /// Add a ring descriptor to a chain. False if the chain ends there.
    fn add(
        &self,
        builder: &mut ChainBuilder<'_, M>,
        (head, index): (u16, u16),
        (address, word): PackedDescriptor,
    ) -> Result<bool, RingError> {
        if word.has(VIRTQ_DESC_F_INDIRECT) {
            self.check_indirect(head, index, word)?;
            read_table(builder, address, word.len)?;
            return Ok(false);
        }
        builder.add(index, address, word.len, word.has(VIRTQ_DESC_F_WRITE))?;
        Ok(word.has(VIRTQ_DESC_F_NEXT))
    }

    fn check_indirect(&self, head: u16, index: u16, word: Word) -> Result<(), RingError> {
        if !self.limits.indirect {
            return Err(RingError::IndirectNotNegotiated { head, index });
        }
        if word.has(VIRTQ_DESC_F_NEXT) {
            return Err(RingError::IndirectWithNext { head, index });
        }
        if index != head {
            return Err(RingError::IndirectInChain { head, index });
        }
        // VIRTQ_DESC_F_WRITE is ignored here (2.8.7).
        Ok(())
    }

    /// Check the buffer ID in the last descriptor of a chain, and mark the chain in flight.
    fn hold(&mut self, index: u16, id: u16, entries: u16) -> Result<(), RingError> {
        let size = self.limits.size;
        if id >= size {
            return Err(RingError::BufferIdOutOfRange { index, id, size });
        }
        let taken = self.entries_taken.wrapping_add(entries.into());
        // Relaxed: an honest driver makes an entry available again after it saw it used, which the
        // writer published after counting it.
        let entries_used = self.entries_used.load(Ordering::Relaxed);
        if taken.wrapping_sub(entries_used) > size.into() {
            return Err(RingError::RingOverrun { index, size });
        }
        if !self.inflight_heads.insert(id, entries) {
            return Err(RingError::BufferIdInFlight { index, id });
        }
        self.entries_taken = taken;
        Ok(())
    }
}

impl<M: RingMemory> UsedWriter<M> {
    /// Mark a chain of `entries` used. It is published at once with a log, by `publish` without one.
    /// The driver is told another identifier and length, if the device lies.
    pub(crate) fn write(&mut self, id: u16, entries: u16, (told, written): (u16, u32)) {
        // The length means something only with the flag (2.8.4).
        let write = if written > 0 { VIRTQ_DESC_F_WRITE } else { 0 };
        let word = Word {
            len: written,
            id: told,
            flags: write | used_flags(self.next.wrap),
        };
        let offset = desc_offset(self.next.index) + WORD_OFFSET;
        // Race: the reader sees these entries as free while the log has no free entry yet. So they are
        // counted under the lock of the log, which the reader takes before it logs a chain.
        let log = self.log.as_ref().map(SharedLog::lock);
        // One writer: no read-modify-write is needed.
        let entries_used = self.entries_used.load(Ordering::Relaxed);
        self.entries_used
            .store(entries_used.wrapping_add(entries.into()), Ordering::Relaxed);
        if let Some(mut log) = log {
            log.before_publish(id);
            self.descriptors
                .store_u64(offset, word.to_bits(), Ordering::Release);
            log.after_publish(id);
        } else if self.first.is_none() {
            self.first = Some((offset, word.to_bits()));
        } else {
            // The driver gets here only past the first word, whose release comes later; and a driver
            // that reads ahead is served by this one.
            self.descriptors
                .store_u64(offset, word.to_bits(), Ordering::Release);
        }
        self.next = self.next.plus(entries, self.size);
    }

    /// Publish the used chains to the driver.
    pub(crate) fn publish(&mut self) {
        if let Some((offset, word)) = self.first.take() {
            // Release: the other words, and what was written into the buffers, come before this one.
            self.descriptors.store_u64(offset, word, Ordering::Release);
        }
    }

    /// True if the driver wants an interrupt for the last `added` entries. A full fence has to precede.
    pub(crate) fn needs_interrupt(&self, added: u32) -> bool {
        self.events.is_wanted(self.next, added)
    }

    /// The ring's state.
    pub(crate) fn state(&self, avail: AvailState) -> RingState {
        let AvailState { index, wrap } = avail;
        RingState::Packed {
            avail: Position { index, wrap },
            used: self.next,
        }
    }

    /// The state if chains are pushed in order: the next entry to use is the next one to pop.
    pub(crate) fn state_in_order(&self) -> RingState {
        RingState::Packed {
            avail: self.next,
            used: self.next,
        }
    }
}

/// Read a whole indirect table (2.8.7). Of its flags, only `VIRTQ_DESC_F_WRITE` has a meaning.
fn read_table<M: RingMemory>(
    builder: &mut ChainBuilder<'_, M>,
    address: u64,
    length: u32,
) -> Result<(), RingError> {
    let table = builder.enter_table(address, length)?;
    let mut index = 0;
    while u32::from(index) < table.entries {
        // No overflow: the whole table was found inside guest memory.
        let entry = address + u64::from(DESC_SIZE) * u64::from(index);
        let [addr, rest] = builder.read(entry, &table)?;
        let word = Word::from_bits(rest);
        builder.add(index, addr, word.len, word.has(VIRTQ_DESC_F_WRITE))?;
        // No endless loop, no overflow: `add` refuses a chain longer than the device allows.
        index += 1;
    }
    Ok(())
}
