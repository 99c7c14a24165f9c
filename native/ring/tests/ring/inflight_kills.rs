//! Recovery by the in-flight log after a kill at any store.
//!
//! A device side executes a list of steps, of the driver and of its own. The list is repeated with a kill
//! at the first store, at the second one, and so on. The second device side is killed soon after, while
//! it repairs the log. The third one completes the list. In every case each chain is used exactly once,
//! and the chains in flight are resubmitted first, in the order in which they were popped, with the same
//! buffers.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use virtmesh_ring::layout::inflight::region_len;
use virtmesh_ring::{Chain, DeviceQueue, DriverQueue, GuestRam, LogRegion, Segment};

use crate::common::{BASE, Rig, ram};
use crate::killable_memory::{KillableMemory, Killed, StoreBudget};
use crate::peers::Random;

const STEPS: usize = 120;

/// A driver, and what it knows of the chains it added.
struct World {
    rig: Rig,
    log: GuestRam,
    capacity: u16,
    driver: DriverQueue,
    random: Random,
    steps_left: usize,
    /// Buffers of the chains in flight, by token.
    buffers: HashMap<u16, (Vec<Segment>, Vec<Segment>)>,
    /// Tokens that a device side took and did not give back, in that order.
    taken: Vec<u16>,
    added: usize,
    used: usize,
}

impl World {
    fn new(packed: bool, indirect: bool, size: u16, capacity: u16, seed: u64) -> Self {
        let rig = Rig::new(size, true, indirect).packed(packed);
        let driver = rig.driver();
        let length = region_len(packed, capacity).next_multiple_of(4096);
        Self {
            rig,
            log: ram(length),
            capacity,
            driver,
            random: Random(seed),
            steps_left: STEPS,
            buffers: HashMap::new(),
            taken: Vec::new(),
            added: 0,
            used: 0,
        }
    }

    /// Live until the program ends; false when killed before.
    fn live(&mut self, stores: u32) -> bool {
        match catch_unwind(AssertUnwindSafe(|| self.run(stores))) {
            Ok(()) => true,
            Err(cause) if cause.is::<Killed>() => false,
            Err(failure) => resume_unwind(failure),
        }
    }

    fn run(&mut self, stores: u32) {
        let budget = StoreBudget::of(stores);
        let killable = |ram: &GuestRam| KillableMemory {
            ram: ram.clone(),
            budget: budget.clone(),
        };
        let region = LogRegion {
            memory: killable(&self.log),
            address: BASE,
            capacity: self.capacity,
        };
        let memory = killable(&self.rig.memory);
        let mut device = DeviceQueue::with_log(memory, self.rig.config, Some(&region)).unwrap();
        // Those that the driver saw used are not in flight, whatever the last life came to.
        self.collect();
        for expected in std::mem::take(&mut self.taken) {
            let chain = device.pop().unwrap().unwrap();
            assert_eq!(chain.head, expected);
            self.take(&chain);
        }
        while self.steps_left > 0 {
            self.steps_left -= 1;
            match self.random.below(5) {
                0 | 1 => self.add(),
                2 => {
                    if let Some(chain) = device.pop().unwrap() {
                        self.take(&chain);
                    }
                }
                3 => self.give_back(&mut device),
                _ => self.collect(),
            }
        }
        while let Some(chain) = device.pop().unwrap() {
            self.take(&chain);
        }
        while !self.taken.is_empty() {
            self.give_back(&mut device);
        }
        self.collect();
    }

    fn add(&mut self) {
        let count = 1 + self.random.below(u32::from(self.rig.config.size.min(3)));
        let start = 64 * u64::from(self.random.below(1000));
        let segments: Vec<_> = (0..count)
            .map(|index| self.rig.segment(start + 8 * u64::from(index), 8))
            .collect();
        let (readable, writable) = segments.split_at(segments.len() / 2);
        if let Some(token) = self.driver.add(readable, writable).unwrap() {
            let buffers = (readable.to_vec(), writable.to_vec());
            assert!(self.buffers.insert(token, buffers).is_none());
            self.added += 1;
        }
    }

    fn take(&mut self, chain: &Chain) {
        let (readable, writable) = &self.buffers[&chain.head];
        assert_eq!(chain.readable.as_slice(), readable);
        assert_eq!(chain.writable.as_slice(), writable);
        self.taken.push(chain.head);
    }

    /// Give some chains back, in one batch, out of order.
    fn give_back(&mut self, device: &mut DeviceQueue<KillableMemory>) {
        let count = 1 + self.random.below(3);
        let mut left = self.taken.clone();
        let mut batch = Vec::new();
        for _ in 0..count {
            if !left.is_empty() {
                let which = self.random.below(left.len().try_into().unwrap());
                let head = left.remove(which as usize);
                batch.push((head, u32::from(head % 4)));
            }
        }
        // Killed in here, it is for the ring to say which of them are used.
        device.push_batch(&batch).unwrap();
        self.taken = left;
    }

    /// Take what is used. Twice the same, or another's, is an error of the driver's queue.
    fn collect(&mut self) {
        while let Some((token, written)) = self.driver.pop_used().unwrap() {
            assert_eq!(written, u32::from(token % 4));
            assert!(self.buffers.remove(&token).is_some());
            self.taken.retain(|taken| *taken != token);
            self.used += 1;
        }
    }
}

/// Kill a life at each of its stores.
fn kill_everywhere(packed: bool, indirect: bool, size: u16, capacity: u16, seed: u64) {
    for stores in 0.. {
        let mut world = World::new(packed, indirect, size, capacity, seed);
        let survived = world.live(stores);
        world.live(stores % 29);
        assert!(world.live(StoreBudget::ENDLESS));
        assert_eq!(world.used, world.added);
        assert!(world.buffers.is_empty());
        if survived {
            assert!(world.added > 2 * usize::from(size));
            return;
        }
    }
}

#[test]
fn killed_anywhere_a_split_queue_uses_each_chain_once() {
    for seed in 1..7 {
        kill_everywhere(false, seed % 2 == 0, 8, 8, seed);
    }
}

#[test]
fn killed_anywhere_a_packed_queue_uses_each_chain_once() {
    for seed in 1..7 {
        kill_everywhere(true, seed % 2 == 0, 8, 8, seed);
    }
}

/// Any number of lives, each killed after a random number of stores.
#[test]
fn killed_again_and_again_a_queue_uses_each_chain_once() {
    for seed in 1..200 {
        let packed = seed % 2 == 0;
        let mut random = Random(seed);
        let size = if packed { 5 } else { 1 << random.below(4) };
        let mut world = World::new(packed, random.below(2) == 0, size, 16, seed);
        let mut lives = 1;
        while !world.live(random.below(80)) {
            lives += 1;
            assert!(lives < 1000);
        }
        assert_eq!(world.used, world.added);
        assert!(world.buffers.is_empty());
    }
}

#[test]
fn a_log_may_be_larger_than_its_queue() {
    kill_everywhere(false, false, 4, 16, 1);
    kill_everywhere(true, false, 5, 9, 1);
}

#[test]
fn a_chain_as_long_as_a_packed_ring_brings_the_used_index_back_to_itself() {
    for seed in 1..5 {
        kill_everywhere(true, false, 3, 3, seed);
        kill_everywhere(true, true, 1, 1, seed);
    }
}
