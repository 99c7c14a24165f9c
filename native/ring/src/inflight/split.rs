//! The in-flight log of a split queue.

use std::sync::atomic::Ordering;

use super::refuse;
use crate::config::QueueConfig;
use crate::error::ConfigError;
use crate::layout::inflight::{
    COUNTER, INFLIGHT, LAST_BATCH_HEAD, SPLIT_NEXT, USED_IDX, VERSION, VERSION_OFFSET, load_four,
    split_entry, store_four,
};
use crate::memory::RingArea;
use crate::state::split_start;

/// The log, in use.
pub(crate) struct SplitLog<A> {
    area: A,
    /// The `counter` of the next chain that is popped.
    counter: u64,
    last_batch_head: u16,
}

/// One `DescStateSplit`, as it was found.
#[derive(Clone, Copy)]
struct Entry {
    inflight: bool,
    next: u16,
}

impl<A: RingArea> SplitLog<A> {
    /// Initialize an unused log, or recover one in use. Then returns the heads in flight, in the order in
    /// which they were popped. `used_idx` is the index in the used ring.
    ///
    /// Recovery is idempotent: if this process is killed meanwhile, the next one repeats it.
    pub(crate) fn open(
        area: A,
        config: &QueueConfig,
        capacity: u16,
        used_idx: u16,
    ) -> Result<(Self, Option<Vec<u16>>), ConfigError> {
        let [version, desc_num, last_batch_head, logged_idx] = load_four(&area, VERSION_OFFSET);
        match version {
            0 => Ok((Self::initialize(area, config, capacity, used_idx)?, None)),
            VERSION if desc_num == capacity => {
                let mut log = Self {
                    area,
                    counter: 0,
                    last_batch_head,
                };
                let batch = used_idx.wrapping_sub(logged_idx);
                let heads = log.recover(config.size, capacity, batch)?;
                log.area.store(USED_IDX, used_idx, Ordering::Release);
                Ok((log, Some(heads)))
            }
            VERSION => refuse("it was made for another queue size"),
            _ => refuse("its version is not 1"),
        }
    }

    fn initialize(
        area: A,
        config: &QueueConfig,
        capacity: u16,
        used_idx: u16,
    ) -> Result<Self, ConfigError> {
        // What is in flight is counted from the used index on.
        if split_start(config)? != used_idx {
            return refuse("it is new, but chains are in flight");
        }
        for index in 0..capacity {
            store_four(&area, split_entry(index), [0; 4]);
        }
        // This last store marks the log in use.
        store_four(&area, VERSION_OFFSET, [VERSION, capacity, 0, used_idx]);
        Ok(Self {
            area,
            counter: 0,
            last_batch_head: 0,
        })
    }

    /// Clear the entries of the last batch if it was published but perhaps not cleared. Returns the heads
    /// in flight after that, oldest first.
    fn recover(&mut self, size: u16, capacity: u16, batch: u16) -> Result<Vec<u16>, ConfigError> {
        let mut entries: Vec<_> = (0..capacity).map(|index| self.read(index)).collect();
        if entries[usize::from(size)..]
            .iter()
            .any(|entry| entry.inflight)
        {
            return refuse("it has descriptors in flight that the queue does not have");
        }
        let mut head = self.last_batch_head;
        // With nothing in flight there is nothing to clear, and the index may have any value: that of
        // another ring, for example.
        let batch = if entries.iter().any(|entry| entry.inflight) {
            batch
        } else {
            0
        };
        if batch > size {
            return refuse("its used index is not near that of the ring");
        }
        for _ in 0..batch {
            let Some(entry) = entries.get_mut(usize::from(head)) else {
                return refuse("its last batch has descriptors that the queue does not have");
            };
            entry.inflight = false;
            self.set_inflight(head, false);
            head = entry.next;
        }
        let mut heads: Vec<_> = (0..size)
            .filter(|index| entries[usize::from(*index)].inflight)
            .map(|index| (self.counter_of(index), index))
            .collect();
        heads.sort_unstable();
        // A counter that a front end wrote may overflow; then only its own order suffers.
        self.counter = heads.last().map_or(0, |(last, _)| last.wrapping_add(1));
        Ok(heads.into_iter().map(|(_, head)| head).collect())
    }

    /// Log a chain that was popped.
    ///
    /// Killed before the second store: the chain is not in flight, and the next device side finds it in
    /// the available ring, behind those that are. Killed after it: the chain is resubmitted.
    pub(crate) fn mark_inflight(&mut self, head: u16) {
        let counter = split_entry(head) + COUNTER;
        self.area
            .store_u64(counter, self.counter, Ordering::Release);
        self.counter = self.counter.wrapping_add(1);
        self.set_inflight(head, true);
    }

    /// Log a batch that is about to be published. It has no effect until the batch is published.
    pub(crate) fn before_publish(&mut self, batch: &[u16]) {
        for &head in batch {
            let next = split_entry(head) + SPLIT_NEXT;
            self.area
                .store(next, self.last_batch_head, Ordering::Release);
            self.last_batch_head = head;
        }
        self.area
            .store(LAST_BATCH_HEAD, self.last_batch_head, Ordering::Release);
    }

    /// Clear the entries of a batch that was published. `used_idx` is the index in the used ring now.
    ///
    /// Killed before the last store: the index differs from that of the ring, and the difference is the
    /// number of entries to clear from the list that `before_publish` wrote. Killed after it: all are
    /// cleared.
    pub(crate) fn after_publish(&mut self, batch: &[u16], used_idx: u16) {
        for &head in batch {
            self.set_inflight(head, false);
        }
        self.area.store(USED_IDX, used_idx, Ordering::Release);
    }

    fn set_inflight(&self, head: u16, inflight: bool) {
        // This must not change `next`, by which recovery finds the batch that is being cleared.
        let offset = split_entry(head) + INFLIGHT;
        self.area.store(offset, inflight.into(), Ordering::Release);
    }

    fn read(&self, index: u16) -> Entry {
        let [inflight, _, _, next] = load_four(&self.area, split_entry(index));
        Entry {
            inflight: inflight & 0xFF != 0,
            next,
        }
    }

    fn counter_of(&self, index: u16) -> u64 {
        let offset = split_entry(index) + COUNTER;
        self.area.load_u64(offset, Ordering::Acquire)
    }
}
