//! The device's halves of a split virtqueue, which may run on two threads.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use super::chain::read_chain;
use crate::chain_builder::ChainLimits;
use crate::config::{Areas, QueueConfig};
use crate::descriptor_chain::Chain;
use crate::error::{ConfigError, RingError};
use crate::inflight::{LogRegion, SharedLog, SplitLog};
use crate::inflight_heads::InflightHeads;
use crate::layout::{
    RING_FLAGS, RING_IDX, VIRTQ_AVAIL_F_NO_INTERRUPT, VIRTQ_USED_F_NO_NOTIFY, avail_offset,
    need_event, never_event, used_offset,
};
use crate::memory::{RingArea, RingMemory};
use crate::state::{AvailState, RingState, split_start};

/// Reads the available ring; writes `used.flags` and `avail_event`.
pub(crate) struct AvailReader<M: RingMemory> {
    areas: Areas<M::Area>,
    event_idx: bool,
    limits: ChainLimits,
    inflight_heads: InflightHeads,
    log: Option<SharedLog<SplitLog<M::Area>>>,
    /// Heads that an earlier device side popped and did not push, oldest first.
    resubmits: VecDeque<u16>,
    /// Next entry of the available ring to pop.
    next: u16,
    /// `avail.idx` as last read: entries before it may be popped.
    idx: u16,
}

/// Writes `used.ring` and `used.idx`.
pub(crate) struct UsedWriter<M: RingMemory> {
    areas: Areas<M::Area>,
    size: u16,
    event_idx: bool,
    /// Next entry of the used ring to fill; `used.idx` once published.
    next: u16,
    log: Option<SharedLog<SplitLog<M::Area>>>,
    /// Heads written and not published. Kept only if there is a log.
    batch: Vec<u16>,
}

/// Make both halves.
pub(crate) fn halves<M: RingMemory>(
    areas: &Areas<M::Area>,
    config: &QueueConfig,
    inflight_heads: InflightHeads,
    log: Option<&LogRegion<M>>,
) -> Result<(AvailReader<M>, UsedWriter<M>), ConfigError> {
    let mut next_avail = split_start(config)?;
    // Any value is valid: it is where the driver reads next, and nothing else depends on it.
    let next_used = if config.state.is_none() && log.is_none() {
        0
    } else {
        areas.device.load(RING_IDX, Ordering::Acquire)
    };
    let mut resubmits = VecDeque::new();
    let log = match log {
        None => None,
        Some(region) => {
            let area = region.resolve(config)?;
            let (log, heads) = SplitLog::open(area, config, region.capacity, next_used)?;
            if let Some(heads) = heads {
                next_avail = next_used;
                for &head in &heads {
                    inflight_heads.insert(head, 1);
                    next_avail = next_avail.wrapping_add(1);
                }
                resubmits = heads.into();
            }
            Some(SharedLog::new(log))
        }
    };
    let QueueConfig {
        size, event_idx, ..
    } = *config;
    let reader = AvailReader {
        areas: areas.clone(),
        event_idx,
        limits: ChainLimits::from_config(config),
        inflight_heads,
        log: log.clone(),
        resubmits,
        next: next_avail,
        idx: next_avail,
    };
    let writer = UsedWriter {
        areas: areas.clone(),
        size,
        event_idx,
        next: next_used,
        log,
        batch: Vec::new(),
    };
    Ok((reader, writer))
}

impl<M: RingMemory> AvailReader<M> {
    /// Pop the next available chain into an empty one. False if there is none.
    pub(crate) fn pop(&mut self, memory: &M, chain: &mut Chain) -> Result<bool, RingError> {
        // `avail.idx` is read once for all the chains it shows.
        if self.next == self.idx && !self.has_available()? {
            return Ok(false);
        }
        let size = self.limits.size;
        let slot = slot_of(self.next, size);
        let head = self.areas.driver.read_u16(avail_offset(slot));
        if head >= size {
            return Err(RingError::HeadOutOfRange { slot, head, size });
        }
        if !self.inflight_heads.insert(head, 1) {
            return Err(RingError::HeadInFlight { head });
        }
        self.read(memory, head, chain)?;
        if let Some(log) = &self.log {
            log.lock().mark_inflight(head);
        }
        self.next = self.next.wrapping_add(1);
        Ok(true)
    }

    /// Pop the next chain to resubmit into an empty one. False if there is none.
    pub(crate) fn pop_resubmit(
        &mut self,
        memory: &M,
        chain: &mut Chain,
    ) -> Result<bool, RingError> {
        match self.resubmits.pop_front() {
            Some(head) => self.read(memory, head, chain).map(|()| true),
            None => Ok(false),
        }
    }

    /// True if a chain is left to resubmit.
    pub(crate) fn has_resubmits(&self) -> bool {
        !self.resubmits.is_empty()
    }

    /// Allow up to `buffers` in an indirect table.
    pub(crate) fn allow_indirect_buffers(&mut self, buffers: u16) {
        self.limits.allow_indirect_buffers(buffers);
    }

    fn read(&self, memory: &M, head: u16, chain: &mut Chain) -> Result<(), RingError> {
        read_chain(memory, &self.areas.descriptors, self.limits, head, chain)
    }

    /// Read `avail.idx`. True if a chain is available.
    pub(crate) fn has_available(&mut self) -> Result<bool, RingError> {
        // Acquire pairs with the driver's release: what the index shows (ring entries, descriptors,
        // buffers) was written before it.
        let idx = self.areas.driver.load(RING_IDX, Ordering::Acquire);
        let (from, size) = (self.next, self.limits.size);
        let waiting = idx.wrapping_sub(from);
        if waiting > size {
            return Err(RingError::AvailIndexJumped {
                from,
                to: idx,
                size,
            });
        }
        self.idx = idx;
        Ok(waiting > 0)
    }

    /// Enable the notification of the next chain. A full fence has to follow.
    pub(crate) fn enable_notifications(&self) {
        if self.event_idx {
            self.set_avail_event(self.next);
        } else {
            self.areas.device.store(RING_FLAGS, 0, Ordering::Relaxed);
        }
    }

    /// Disable notifications.
    pub(crate) fn disable_notifications(&self) {
        if self.event_idx {
            self.set_avail_event(never_event(self.next));
        } else {
            self.areas
                .device
                .store(RING_FLAGS, VIRTQ_USED_F_NO_NOTIFY, Ordering::Relaxed);
        }
    }

    /// The available half of the ring's state.
    pub(crate) fn state(&self) -> AvailState {
        AvailState {
            index: self.next,
            wrap: false,
        }
    }

    fn set_avail_event(&self, event: u16) {
        let offset = used_offset(self.limits.size);
        self.areas.device.store(offset, event, Ordering::Relaxed);
    }
}

impl<M: RingMemory> UsedWriter<M> {
    /// Fill an entry of the used ring with what the driver is told of a chain, without publishing it.
    pub(crate) fn write(&mut self, head: u16, (told, written): (u16, u32)) {
        // No entry is overwritten before an honest driver has read it: until then its descriptors are
        // not free to be made available again, so there are never more chains in flight than entries.
        let offset = used_offset(slot_of(self.next, self.size));
        self.areas.device.write_u32(offset, told.into());
        self.areas.device.write_u32(offset + 4, written);
        self.next = self.next.wrapping_add(1);
        if self.log.is_some() {
            self.batch.push(head);
        }
    }

    /// Publish the written entries to the driver.
    pub(crate) fn publish(&mut self) {
        let Some(log) = &self.log else {
            self.store_index();
            return;
        };
        let mut log = log.lock();
        log.before_publish(&self.batch);
        self.store_index();
        log.after_publish(&self.batch, self.next);
        self.batch.clear();
    }

    fn store_index(&self) {
        // Release: the entries, and what was written into the buffers, come before the index.
        self.areas
            .device
            .store(RING_IDX, self.next, Ordering::Release);
    }

    /// The state if chains are pushed in order: each takes one entry of either ring.
    pub(crate) fn state_in_order(&self) -> RingState {
        RingState::Split {
            next_avail: self.next,
        }
    }

    /// True if the driver wants an interrupt for the last `added` entries. A full fence has to precede.
    pub(crate) fn needs_interrupt(&self, added: u32) -> bool {
        let driver = &self.areas.driver;
        if self.event_idx {
            let event = driver.load(avail_offset(self.size), Ordering::Relaxed);
            need_event(event, self.next, added)
        } else {
            driver.load(RING_FLAGS, Ordering::Relaxed) & VIRTQ_AVAIL_F_NO_INTERRUPT == 0
        }
    }
}

/// The slot of a free-running index: the size of a split queue is a power of two, so no division is needed.
const fn slot_of(index: u16, size: u16) -> u16 {
    index & (size - 1)
}
