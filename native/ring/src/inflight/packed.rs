//! The in-flight log of a packed queue. It keeps copies of the descriptors: in the ring they are
//! overwritten by used descriptors of other chains.
//!
//! Each used chain is published and cleared on its own. In a batch, later words are stored before the
//! first one. If the process were killed in between, they would stay in the ring, and the driver would
//! take them for used as soon as another chain is used in the place of the first.

use std::sync::atomic::Ordering;

use super::refuse;
use crate::config::QueueConfig;
use crate::error::ConfigError;
use crate::layout::desc_offset;
use crate::layout::inflight::{
    COUNTER, FREE_HEAD, INFLIGHT, PACKED_ADDR, PACKED_NEXT, PACKED_WORD, USED, VERSION,
    VERSION_OFFSET, load_four, packed_entry, store_four,
};
use crate::layout::packed::{Position, WORD_OFFSET, Word};
use crate::memory::RingArea;
use crate::state::PackedStart;

/// A ring descriptor that was popped: its address and its other fields.
pub(crate) type PackedDescriptor = (u64, Word);

/// The log, in use.
pub(crate) struct PackedLog<A> {
    area: A,
    capacity: u16,
    size: u16,
    /// The `counter` of the next chain that is popped.
    counter: u64,
    /// For each entry, the next one of its chain or of the free list, which ends at `capacity`.
    next: Box<[u16]>,
    /// For each buffer ID, the entries of its chain: first, last, how many.
    chains: Box<[Option<Links>]>,
    free_head: u16,
    used: Position,
}

/// The entries of a chain.
#[derive(Clone, Copy)]
struct Links {
    first: u16,
    last: u16,
    num: u16,
}

/// A chain that was in flight.
pub(crate) struct LoggedChain {
    /// Its buffer ID.
    pub(crate) id: u16,
    /// Its descriptors, at least one.
    pub(crate) descriptors: Vec<PackedDescriptor>,
}

impl LoggedChain {
    /// Entries of the ring that it takes.
    pub(crate) fn entries(&self) -> u16 {
        // No overflow: it was found not to be longer than the ring.
        u16::try_from(self.descriptors.len()).unwrap_or(u16::MAX)
    }
}

/// One `DescStatePacked` without its counter and descriptor, as it was found.
#[derive(Clone, Copy)]
struct Entry {
    inflight: bool,
    next: u16,
    last: u16,
    num: u16,
    /// It is in the free list, or in a chain that was seen.
    seen: bool,
}

impl<A: RingArea> PackedLog<A> {
    /// Initialize an unused log, or recover one in use. Then returns the chains in flight, in the order in
    /// which they were popped, and sets `start` to where the ring continues. `ring` is the descriptor
    /// area.
    ///
    /// Recovery is idempotent: if this process is killed meanwhile, the next one repeats it.
    pub(crate) fn open(
        area: A,
        config: &QueueConfig,
        capacity: u16,
        ring: &A,
        start: &mut PackedStart,
    ) -> Result<(Self, Vec<LoggedChain>), ConfigError> {
        let [version, desc_num, free_head, old_free_head] = load_four(&area, VERSION_OFFSET);
        let mut log = Self {
            area,
            capacity,
            size: config.size,
            counter: 0,
            next: (1..=capacity).collect(),
            chains: vec![None; config.size.into()].into(),
            free_head: 0,
            used: start.used,
        };
        match version {
            0 => {
                log.initialize(start)?;
                Ok((log, Vec::new()))
            }
            VERSION if desc_num == capacity => {
                log.resolve_last_used(ring, free_head, old_free_head)?;
                let chains = log.recover()?;
                // No overflow: `recover` found at most as many descriptors as the ring has.
                start.in_flight = log.chains.iter().flatten().map(|chain| chain.num).sum();
                start.used = log.used;
                start.avail = log.used.plus(start.in_flight, log.size);
                Ok((log, chains))
            }
            VERSION => refuse("it was made for another queue size"),
            _ => refuse("its version is not 1"),
        }
    }

    fn initialize(&mut self, start: &PackedStart) -> Result<(), ConfigError> {
        // What is in flight is counted from the used position on.
        if start.in_flight != 0 {
            return refuse("it is new, but chains are in flight");
        }
        for (index, next) in (0..self.capacity).zip(&self.next) {
            store_four(&self.area, packed_entry(index), [0, *next, 0, 0]);
        }
        self.store_used(self.used);
        // This last store marks the log in use.
        self.store_free_head();
        Ok(())
    }

    /// Complete the last `before_publish` if its chain was published, and undo it if not.
    fn resolve_last_used(&mut self, ring: &A, free: u16, old_free: u16) -> Result<(), ConfigError> {
        let [idx, old_idx, wraps, _] = load_four(&self.area, USED);
        let [wrap, old_wrap] = wraps.to_le_bytes().map(|byte| byte != 0);
        let position = |index, wrap| Position { index, wrap };
        let (used, old_used) = (position(idx, wrap), position(old_idx, old_wrap));
        if used.index >= self.size || old_used.index >= self.size {
            return refuse("its used index is not below the queue size");
        }
        // The wrap counter counts too: a chain as long as the ring brings the index back to itself.
        let published = used != old_used && {
            let offset = desc_offset(old_used.index) + WORD_OFFSET;
            let word = Word::from_bits(ring.load_u64(offset, Ordering::Acquire));
            !word.is_available(old_used.wrap)
        };
        (self.free_head, self.used) = if published {
            (free, used)
        } else {
            (old_free, old_used)
        };
        self.store_free_head();
        self.store_used(self.used);
        Ok(())
    }

    /// Read the free list and the chains in flight. Returns the chains, oldest first.
    fn recover(&mut self) -> Result<Vec<LoggedChain>, ConfigError> {
        let mut entries: Vec<_> = (0..self.capacity).map(|index| self.read(index)).collect();
        self.walk_free(&mut entries)?;
        let mut total = 0;
        let mut found = Vec::new();
        for first in 0..self.capacity {
            let entry = entries[usize::from(first)];
            if entry.seen || !entry.inflight {
                continue;
            }
            total += u32::from(entry.num);
            if total > self.size.into() {
                return refuse("its chains are longer than the ring");
            }
            let chain = self.walk_chain(&mut entries, first)?;
            let offset = packed_entry(first) + COUNTER;
            found.push((self.area.load_u64(offset, Ordering::Acquire), chain));
        }
        if entries.iter().any(|entry| !entry.seen) {
            return refuse("it has entries that are neither free nor of a chain");
        }
        found.sort_by_key(|(counter, _)| *counter);
        // A counter that a front end wrote may overflow; then only its own order suffers.
        self.counter = found.last().map_or(0, |(last, _)| last.wrapping_add(1));
        Ok(found.into_iter().map(|(_, chain)| chain).collect())
    }

    /// Follow the free list. Its entries are not in flight.
    fn walk_free(&mut self, entries: &mut [Entry]) -> Result<(), ConfigError> {
        let mut index = self.free_head;
        while index != self.capacity {
            let Some(entry) = entries
                .get_mut(usize::from(index))
                .filter(|entry| !entry.seen)
            else {
                return refuse("its free list loops, or leaves it");
            };
            entry.seen = true;
            if entry.inflight {
                self.clear_inflight(index);
            }
            self.next[usize::from(index)] = entry.next;
            index = entry.next;
        }
        Ok(())
    }

    /// Follow a chain in flight, and copy its descriptors out.
    fn walk_chain(
        &mut self,
        entries: &mut [Entry],
        first: u16,
    ) -> Result<LoggedChain, ConfigError> {
        let Entry { num, last, .. } = entries[usize::from(first)];
        let mut descriptors = Vec::with_capacity(num.into());
        let (mut index, mut end) = (first, first);
        for _ in 0..num {
            let Some(entry) = entries
                .get_mut(usize::from(index))
                .filter(|entry| !entry.seen)
            else {
                return refuse("a chain in it loops, or leaves it");
            };
            entry.seen = true;
            descriptors.push(self.descriptor(index));
            self.next[usize::from(index)] = entry.next;
            (end, index) = (index, entry.next);
        }
        let Some(&(_, Word { id, .. })) = descriptors.last().filter(|_| end == last) else {
            return refuse("a chain in it does not end where it says");
        };
        let Some(links @ None) = self.chains.get_mut(usize::from(id)) else {
            return refuse("a chain in it has a buffer ID out of range, or that of another");
        };
        *links = Some(Links { first, last, num });
        Ok(LoggedChain { id, descriptors })
    }

    /// Log a chain that was popped. False if the previous chain with its buffer ID is not cleared yet: an
    /// honest driver has not seen that one as used.
    ///
    /// Killed before the last store: its entries are still in the free list, so the chain is not in
    /// flight, and the next device side finds it in the ring, behind those that are. Killed after it: the
    /// chain is resubmitted.
    pub(crate) fn mark_inflight(&mut self, id: u16, descriptors: &[PackedDescriptor]) -> bool {
        if self.chains[usize::from(id)].is_some() {
            return false;
        }
        let first = self.free_head;
        let (mut index, mut last) = (first, first);
        for (address, word) in descriptors {
            // Inside the log: the reader found room for these descriptors in the ring, and the log, whose
            // lock it has, has at least as many free entries as the ring.
            let entry = packed_entry(index);
            self.area
                .store_u64(entry + PACKED_ADDR, *address, Ordering::Release);
            self.store_word(entry, *word);
            (last, index) = (index, self.next[usize::from(index)]);
        }
        // No overflow: a chain has at most as many descriptors as the ring.
        let num = u16::try_from(descriptors.len()).unwrap_or(u16::MAX);
        let entry = packed_entry(first);
        self.area
            .store_u64(entry + COUNTER, self.counter, Ordering::Release);
        self.counter = self.counter.wrapping_add(1);
        let next = self.next[usize::from(first)];
        store_four(&self.area, entry, [1, next, last, num]);
        self.chains[usize::from(id)] = Some(Links { first, last, num });
        self.free_head = index;
        self.store_free_head();
        true
    }

    /// Log a chain that is about to be published as used. The old values are kept to undo this.
    ///
    /// Killed before it is published: its place in the ring still has an available descriptor, so
    /// recovery undoes this.
    pub(crate) fn before_publish(&mut self, id: u16) {
        let Some(Links { first, last, num }) = self.chains[usize::from(id)] else {
            return;
        };
        let next = packed_entry(last) + PACKED_NEXT;
        self.area.store(next, self.free_head, Ordering::Release);
        self.next[usize::from(last)] = self.free_head;
        self.free_head = first;
        self.area.store(FREE_HEAD, first, Ordering::Release);
        let old = self.used;
        self.used = old.plus(num, self.size);
        self.store_used(old);
    }

    /// Clear the entry of a chain that was published.
    ///
    /// Killed before the last store: its place in the ring has no available descriptor of the old lap,
    /// so recovery completes this. Each word is stored whole, so a half-stored word can't occur.
    pub(crate) fn after_publish(&mut self, id: u16) {
        if let Some(Links { first, .. }) = self.chains[usize::from(id)].take() {
            self.clear_inflight(first);
        }
        self.store_free_head();
        self.store_used(self.used);
    }

    fn clear_inflight(&self, index: u16) {
        let offset = packed_entry(index) + INFLIGHT;
        self.area.store(offset, 0, Ordering::Release);
    }

    /// Store `free_head`, and the same as the old one.
    fn store_free_head(&self) {
        let numbers = [VERSION, self.capacity, self.free_head, self.free_head];
        store_four(&self.area, VERSION_OFFSET, numbers);
    }

    /// Store the used position, beside an old one.
    fn store_used(&self, old: Position) {
        let wraps = u16::from_le_bytes([self.used.wrap.into(), old.wrap.into()]);
        store_four(&self.area, USED, [self.used.index, old.index, wraps, 0]);
    }

    fn store_word(&self, entry: usize, word: Word) {
        let [low, high] = [word.len & 0xFFFF, word.len >> 16];
        // No overflow: halves of 32 bits.
        let [low, high] = [low, high].map(|half| u16::try_from(half).unwrap_or_default());
        store_four(
            &self.area,
            entry + PACKED_WORD,
            [word.id, word.flags, low, high],
        );
    }

    fn descriptor(&self, index: u16) -> PackedDescriptor {
        let entry = packed_entry(index);
        let [id, flags, low, high] = load_four(&self.area, entry + PACKED_WORD);
        let len = u32::from(low) | u32::from(high) << 16;
        let address = self.area.load_u64(entry + PACKED_ADDR, Ordering::Acquire);
        (address, Word { len, id, flags })
    }

    fn read(&self, index: u16) -> Entry {
        let [inflight, next, last, num] = load_four(&self.area, packed_entry(index));
        Entry {
            inflight: inflight & 0xFF != 0,
            next,
            last,
            num,
            seen: false,
        }
    }
}
