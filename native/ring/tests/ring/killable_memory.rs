//! Guest memory that kills its user after a number of stores.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use virtmesh_ring::memory::GuestArea;
use virtmesh_ring::{GuestRam, RingArea, RingMemory};

/// The number of stores left, shared by all memory of one process.
#[derive(Clone)]
pub struct StoreBudget(Arc<AtomicU32>);

/// The panic payload that stands for the end of the process.
pub struct Killed;

impl StoreBudget {
    pub const ENDLESS: u32 = u32::MAX;

    pub fn of(stores: u32) -> Self {
        Self(Arc::new(AtomicU32::new(stores)))
    }

    fn spend(&self) {
        let spend = |left: u32| {
            if left == Self::ENDLESS {
                Some(left)
            } else {
                left.checked_sub(1)
            }
        };
        let order = Ordering::SeqCst;
        if self.0.fetch_update(order, order, spend).is_err() {
            resume_unwind(Box::new(Killed));
        }
    }
}

#[derive(Clone)]
pub struct KillableMemory {
    pub ram: GuestRam,
    pub budget: StoreBudget,
}

#[derive(Clone)]
pub struct KillableArea {
    area: GuestArea,
    budget: StoreBudget,
}

impl RingMemory for KillableMemory {
    type Area = KillableArea;

    fn area(&self, address: u64, length: u64) -> Option<KillableArea> {
        let (area, budget) = (self.ram.area(address, length)?, self.budget.clone());
        Some(KillableArea { area, budget })
    }

    fn contains(&self, address: u64, length: u64) -> bool {
        self.ram.contains(address, length)
    }

    fn read_descriptor(&self, address: u64) -> Option<[u64; 2]> {
        self.ram.read_descriptor(address)
    }

    fn full_fence(&self) {
        self.ram.full_fence();
    }
}

impl RingArea for KillableArea {
    fn load(&self, offset: usize, order: Ordering) -> u16 {
        self.area.load(offset, order)
    }

    fn store(&self, offset: usize, value: u16, order: Ordering) {
        self.budget.spend();
        self.area.store(offset, value, order);
    }

    fn load_u32(&self, offset: usize, order: Ordering) -> u32 {
        self.area.load_u32(offset, order)
    }

    fn store_u32(&self, offset: usize, value: u32, order: Ordering) {
        self.budget.spend();
        self.area.store_u32(offset, value, order);
    }

    fn load_u64(&self, offset: usize, order: Ordering) -> u64 {
        self.area.load_u64(offset, order)
    }

    fn store_u64(&self, offset: usize, value: u64, order: Ordering) {
        self.budget.spend();
        self.area.store_u64(offset, value, order);
    }

    fn read_u16(&self, offset: usize) -> u16 {
        self.area.read_u16(offset)
    }

    fn write_u16(&self, offset: usize, value: u16) {
        self.budget.spend();
        self.area.write_u16(offset, value);
    }

    fn read_u32(&self, offset: usize) -> u32 {
        self.area.read_u32(offset)
    }

    fn write_u32(&self, offset: usize, value: u32) {
        self.budget.spend();
        self.area.write_u32(offset, value);
    }

    fn read_u64(&self, offset: usize) -> u64 {
        self.area.read_u64(offset)
    }

    fn write_u64(&self, offset: usize, value: u64) {
        self.budget.spend();
        self.area.write_u64(offset, value);
    }

    fn read_descriptor(&self, offset: usize) -> [u64; 2] {
        self.area.read_descriptor(offset)
    }

    fn write_descriptor(&self, offset: usize, words: [u64; 2]) {
        self.budget.spend();
        self.area.write_descriptor(offset, words);
    }
}
