//! Guest memory that loom watches.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, fence};
use virtmesh_ring::{RingArea, RingMemory};

pub const DRIVER_AREA: u64 = 0x1000;
pub const DEVICE_AREA: u64 = 0x2000;
pub const BUFFERS: u64 = 0x3000;

/// One value of guest memory.
enum Cell {
    Shared(AtomicU16),
    Shared32(AtomicU32),
    Shared64(AtomicU64),
    Half(UnsafeCell<u16>),
    Word(UnsafeCell<u32>),
    Long(UnsafeCell<u64>),
    Descriptor(UnsafeCell<[u64; 2]>),
}

/// Guest memory with one queue and one byte of buffer for each of its descriptors.
#[derive(Clone)]
pub struct Memory {
    parts: [Area; 3],
    buffers: Arc<[UnsafeCell<u8>]>,
    fences: bool,
}

/// A part of the queue: the values in it by their offset.
#[derive(Clone)]
pub struct Area {
    cells: Arc<HashMap<usize, Cell>>,
}

impl Memory {
    #[expect(
        clippy::arc_with_non_send_sync,
        reason = "loom runs its threads in turns on one"
    )]
    pub fn new(size: u16, fences: bool) -> Self {
        let count = usize::from(size);
        let shared = |offset| (offset, Cell::Shared(AtomicU16::new(0)));
        let area = |cells: Vec<(usize, Cell)>| Area {
            cells: Arc::new(cells.into_iter().collect()),
        };
        let descriptors = (0..count)
            .map(|index| (16 * index, Cell::Descriptor(UnsafeCell::new([0; 2]))))
            .collect();
        let mut driver: Vec<_> = (0..count)
            .map(|slot| (4 + 2 * slot, Cell::Half(UnsafeCell::new(0))))
            .collect();
        driver.extend([0, 2, 4 + 2 * count].map(shared));
        let mut device: Vec<_> = (0..2 * count)
            .map(|half| (4 + 4 * half, Cell::Word(UnsafeCell::new(0))))
            .collect();
        device.extend([0, 2, 4 + 8 * count].map(shared));
        Self {
            parts: [area(descriptors), area(driver), area(device)],
            buffers: (0..count).map(|_| UnsafeCell::new(0)).collect(),
            fences,
        }
    }

    /// The same with a packed queue.
    #[expect(
        clippy::arc_with_non_send_sync,
        reason = "loom runs its threads in turns on one"
    )]
    pub fn packed(size: u16, fences: bool) -> Self {
        let count = usize::from(size);
        let area = |cells: Vec<(usize, Cell)>| Area {
            cells: Arc::new(cells.into_iter().collect()),
        };
        let descriptors = (0..count).flat_map(|index| {
            [
                (16 * index, Cell::Long(UnsafeCell::new(0))),
                (16 * index + 8, Cell::Shared64(AtomicU64::new(0))),
            ]
        });
        let events = || vec![(0, Cell::Shared32(AtomicU32::new(0)))];
        Self {
            parts: [area(descriptors.collect()), area(events()), area(events())],
            buffers: (0..count).map(|_| UnsafeCell::new(0)).collect(),
            fences,
        }
    }

    pub fn get(&self, address: u64) -> u8 {
        // SAFETY: loom checks that nobody writes at the same time.
        self.buffers[usize::try_from(address - BUFFERS).unwrap()].with(|byte| unsafe { *byte })
    }

    pub fn set(&self, address: u64, value: u8) {
        // SAFETY: loom checks that nobody reads or writes at the same time.
        self.buffers[usize::try_from(address - BUFFERS).unwrap()]
            .with_mut(|byte| unsafe { *byte = value });
    }
}

impl RingMemory for Memory {
    type Area = Area;

    fn area(&self, address: u64, _length: u64) -> Option<Area> {
        let part = [0, DRIVER_AREA, DEVICE_AREA]
            .iter()
            .position(|start| *start == address)?;
        Some(self.parts[part].clone())
    }

    fn contains(&self, _address: u64, _length: u64) -> bool {
        true
    }

    fn read_descriptor(&self, _address: u64) -> Option<[u64; 2]> {
        None
    }

    fn full_fence(&self) {
        if self.fences {
            fence(Ordering::SeqCst);
        }
    }
}

macro_rules! cell {
    ($self:ident, $offset:ident, $kind:ident) => {
        match &$self.cells[&$offset] {
            Cell::$kind(cell) => cell,
            _ => panic!("no {} at {}", stringify!($kind), $offset),
        }
    };
}

impl RingArea for Area {
    fn load(&self, offset: usize, order: Ordering) -> u16 {
        cell!(self, offset, Shared).load(order)
    }

    fn store(&self, offset: usize, value: u16, order: Ordering) {
        cell!(self, offset, Shared).store(value, order);
    }

    fn load_u32(&self, offset: usize, order: Ordering) -> u32 {
        cell!(self, offset, Shared32).load(order)
    }

    fn store_u32(&self, offset: usize, value: u32, order: Ordering) {
        cell!(self, offset, Shared32).store(value, order);
    }

    fn load_u64(&self, offset: usize, order: Ordering) -> u64 {
        cell!(self, offset, Shared64).load(order)
    }

    fn store_u64(&self, offset: usize, value: u64, order: Ordering) {
        cell!(self, offset, Shared64).store(value, order);
    }

    fn read_u16(&self, offset: usize) -> u16 {
        // SAFETY: here and below, loom checks that nobody writes (or reads) at the same time.
        cell!(self, offset, Half).with(|value| unsafe { *value })
    }

    fn write_u16(&self, offset: usize, value: u16) {
        // SAFETY: as above.
        cell!(self, offset, Half).with_mut(|place| unsafe { *place = value });
    }

    fn read_u32(&self, offset: usize) -> u32 {
        // SAFETY: as above.
        cell!(self, offset, Word).with(|value| unsafe { *value })
    }

    fn write_u32(&self, offset: usize, value: u32) {
        // SAFETY: as above.
        cell!(self, offset, Word).with_mut(|place| unsafe { *place = value });
    }

    fn read_u64(&self, offset: usize) -> u64 {
        // SAFETY: as above.
        cell!(self, offset, Long).with(|value| unsafe { *value })
    }

    fn write_u64(&self, offset: usize, value: u64) {
        // SAFETY: as above.
        cell!(self, offset, Long).with_mut(|place| unsafe { *place = value });
    }

    fn read_descriptor(&self, offset: usize) -> [u64; 2] {
        // SAFETY: as above.
        cell!(self, offset, Descriptor).with(|value| unsafe { *value })
    }

    fn write_descriptor(&self, offset: usize, words: [u64; 2]) {
        // SAFETY: as above.
        cell!(self, offset, Descriptor).with_mut(|place| unsafe { *place = words });
    }
}
