//! The ring code itself, model-checked by loom: every order of its memory accesses that the C11 memory
//! model allows, within the bounds of each model.
//!
//! Run: `RUSTFLAGS="--cfg loom" cargo test -p virtmesh-ring --release --test loom`
//!
//! Shared words are loom atomics, so that a load may return any value the model allows. Plain data
//! (descriptors, ring entries, the buffers) are loom cells, so that an access which is not ordered after
//! the peer's fails the test.
#![cfg(loom)]

mod memory;
mod publication;
mod wakeups;

use virtmesh_ring::layout::{descriptor_area_len, device_area_len, driver_area_len};
use virtmesh_ring::{DeviceQueue, DriverQueue, QueueConfig, Segment};

use crate::memory::{BUFFERS, DEVICE_AREA, DRIVER_AREA, Memory};

/// A format of queue, and whether its fences are kept.
#[derive(Clone, Copy)]
struct Format {
    packed: bool,
    event_idx: bool,
    fences: bool,
}

const SPLIT: Format = Format {
    packed: false,
    event_idx: false,
    fences: true,
};
const SPLIT_EVENTS: Format = Format {
    event_idx: true,
    ..SPLIT
};
const PACKED: Format = Format {
    packed: true,
    ..SPLIT
};
const PACKED_EVENTS: Format = Format {
    event_idx: true,
    ..PACKED
};

/// Both sides of a fresh queue.
fn queue(size: u16, format: Format) -> (Memory, DriverQueue<Memory>, DeviceQueue<Memory>) {
    assert!(descriptor_area_len(size) <= DRIVER_AREA);
    assert!(DRIVER_AREA + driver_area_len(size) <= DEVICE_AREA);
    assert!(DEVICE_AREA + device_area_len(size) <= BUFFERS);
    let Format {
        packed,
        event_idx,
        fences,
    } = format;
    let memory = if packed {
        Memory::packed(size, fences)
    } else {
        Memory::new(size, fences)
    };
    let config = QueueConfig {
        size,
        descriptor_area: 0,
        driver_area: DRIVER_AREA,
        device_area: DEVICE_AREA,
        event_idx,
        indirect: false,
        packed,
        state: None,
    };
    let driver = DriverQueue::new(memory.clone(), config, None, 0).unwrap();
    let device = DeviceQueue::new(memory.clone(), config).unwrap();
    (memory, driver, device)
}

fn buffer(index: u8) -> Segment {
    Segment {
        addr: BUFFERS + u64::from(index),
        len: 1,
    }
}

/// Add a chain of one writable byte that holds a question.
fn ask(memory: &Memory, driver: &mut DriverQueue<Memory>, index: u8, question: u8) {
    memory.set(BUFFERS + u64::from(index), question);
    driver.add(&[], &[buffer(index)]).unwrap().unwrap();
}

/// Take a used chain, if there is one, and check the answer: the question plus 100.
fn hear(memory: &Memory, driver: &mut DriverQueue<Memory>, index: u8, question: u8) -> bool {
    let Some((_, written)) = driver.pop_used().unwrap() else {
        return false;
    };
    assert_eq!(written, 1);
    assert_eq!(memory.get(BUFFERS + u64::from(index)), question + 100);
    true
}

/// Answer a chain, if there is one.
fn serve(memory: &Memory, device: &mut DeviceQueue<Memory>) -> bool {
    let Some(chain) = device.pop().unwrap() else {
        return false;
    };
    let address = chain.writable[0].addr;
    memory.set(address, memory.get(address) + 100);
    device.push(chain.head, 1).unwrap();
    true
}

/// One model for each format of queue.
macro_rules! models {
    ($model:ident: $($name:ident $format:expr),+ $(,)?) => {
        $(
            #[test]
            fn $name() {
                $model($format);
            }
        )+
    };
}

pub(crate) use models;
