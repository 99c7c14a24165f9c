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

use std::sync::Arc;

use loom::sync::{Notify, mpsc};
use loom::thread;
use virtmesh_ring::layout::{descriptor_area_len, device_area_len, driver_area_len};
use virtmesh_ring::{DeviceQueue, DriverQueue, QueueConfig, Segment};

use crate::memory::{BUFFERS, DEVICE_AREA, DRIVER_AREA, Memory};

/// Bound of the largest models: times a thread is interrupted where it need not be.
const PREEMPTIONS: usize = 3;

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
        base: None,
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

/// Descriptors, entries and buffers are seen whole by the side they are published to.
fn what_is_published_is_seen_whole(format: Format) {
    loom::model(move || {
        let (memory, mut driver, mut device) = queue(2, format);
        let theirs = memory.clone();
        let peer = thread::spawn(move || {
            serve(&theirs, &mut device);
            serve(&theirs, &mut device);
            device
        });
        ask(&memory, &mut driver, 0, 1);
        ask(&memory, &mut driver, 1, 2);
        let mut heard = u8::from(hear(&memory, &mut driver, 0, 1));
        let mut device = peer.join().unwrap();
        while serve(&memory, &mut device) {}
        while heard < 2 {
            assert!(hear(&memory, &mut driver, heard, heard + 1));
            heard += 1;
        }
    });
}

/// A descriptor, an entry and a buffer that are used again are not seen as they were before.
fn what_is_reused_is_not_seen_stale(format: Format) {
    loom::model(move || {
        let (memory, mut driver, mut device) = queue(1, format);
        ask(&memory, &mut driver, 0, 1);
        let theirs = memory.clone();
        let peer = thread::spawn(move || {
            serve(&theirs, &mut device);
            serve(&theirs, &mut device);
            device
        });
        let mut question = 1;
        for _ in 0..2 {
            if hear(&memory, &mut driver, 0, question) {
                question += 1;
                ask(&memory, &mut driver, 0, question);
            }
        }
        let mut device = peer.join().unwrap();
        serve(&memory, &mut device);
        assert!(hear(&memory, &mut driver, 0, question));
    });
}

/// The halves of a device on two threads never mistake an honest driver's reuse of a head for an offer
/// of a chain that they hold.
fn halves_agree_on_what_they_hold(format: Format) {
    loom::model(move || {
        let (memory, mut driver, device) = queue(1, format);
        let (mut consumer, mut producer) = device.split();
        ask(&memory, &mut driver, 0, 1);
        let (sender, receiver) = mpsc::channel();
        let popping = thread::spawn(move || {
            for _ in 0..2 {
                if let Some(chain) = consumer.pop().unwrap() {
                    sender.send(Some(chain)).unwrap();
                }
            }
            sender.send(None).unwrap();
        });
        let theirs = memory.clone();
        let pushing = thread::spawn(move || {
            while let Some(chain) = receiver.recv().unwrap() {
                let address = chain.writable[0].addr;
                theirs.set(address, theirs.get(address) + 100);
                producer.push(chain.head, 1).unwrap();
            }
        });
        if hear(&memory, &mut driver, 0, 1) {
            ask(&memory, &mut driver, 0, 2);
        }
        popping.join().unwrap();
        pushing.join().unwrap();
    });
}

/// The device goes to sleep while the driver adds a chain: one of them has to notice.
fn kick_race(format: Format) {
    loom::model(move || {
        let (memory, mut driver, mut device) = queue(2, format);
        device.disable_notifications();
        let peer = thread::spawn(move || {
            let sleeps = !device.enable_notifications().unwrap();
            (device, sleeps)
        });
        ask(&memory, &mut driver, 0, 1);
        let notified = driver.should_notify();
        let (_, sleeps) = peer.join().unwrap();
        assert!(notified || !sleeps, "a notification is lost");
    });
}

/// The driver goes to sleep while the device uses a chain: one of them has to notice.
fn interrupt_race(format: Format) {
    loom::model(move || {
        let (memory, mut driver, mut device) = queue(2, format);
        ask(&memory, &mut driver, 0, 1);
        driver.disable_interrupts();
        let theirs = memory.clone();
        let peer = thread::spawn(move || {
            assert!(serve(&theirs, &mut device));
            device.needs_interrupt()
        });
        let sleeps = !driver.enable_interrupts();
        let interrupted = peer.join().unwrap();
        assert!(interrupted || !sleeps, "an interrupt is lost");
    });
}

/// A whole conversation in which each side sleeps when it finds nothing: loom fails if both sleep.
fn conversation(format: Format) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(PREEMPTIONS);
    model.check(move || {
        let (memory, mut driver, mut device) = queue(2, format);
        let (kick, call) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (theirs, their_kick, their_call) = (memory.clone(), kick.clone(), call.clone());
        let peer = thread::spawn(move || {
            let mut served = 0;
            while served < 2 {
                device.disable_notifications();
                if serve(&theirs, &mut device) {
                    served += 1;
                    if device.needs_interrupt() {
                        their_call.notify();
                    }
                } else if !device.enable_notifications().unwrap() {
                    their_kick.wait();
                }
            }
        });
        for question in 0..2 {
            driver.disable_interrupts();
            ask(&memory, &mut driver, question, question);
            if driver.should_notify() {
                kick.notify();
            }
            while !hear(&memory, &mut driver, question, question) {
                if !driver.enable_interrupts() {
                    call.wait();
                }
            }
        }
        peer.join().unwrap();
    });
}

/// A chain of two, whose second descriptor is in the next lap, is seen whole; and so is what the
/// device writes over it.
#[test]
fn packed_chain_that_wraps_around_is_seen_whole() {
    loom::model(|| {
        let (memory, mut driver, mut device) = queue(2, PACKED);
        ask(&memory, &mut driver, 0, 1);
        assert!(serve(&memory, &mut device));
        assert!(hear(&memory, &mut driver, 0, 1));
        let theirs = memory.clone();
        let peer = thread::spawn(move || {
            let chain = device.pop().unwrap();
            if let Some(chain) = &chain {
                let [question, answer] = [chain.readable[0].addr, chain.writable[0].addr];
                theirs.set(answer, theirs.get(question) + 100);
                device.push(chain.head, 1).unwrap();
            }
            (device, chain.is_some())
        });
        memory.set(BUFFERS, 7);
        driver.add(&[buffer(0)], &[buffer(1)]).unwrap().unwrap();
        let heard = hear(&memory, &mut driver, 1, 7);
        let (_, served) = peer.join().unwrap();
        assert!(heard || !served || hear(&memory, &mut driver, 1, 7));
    });
}

/// A batch is seen from its first chain on, though its words are written in another order.
#[test]
fn packed_batches_are_seen_in_order() {
    loom::model(|| {
        let (memory, mut driver, mut device) = queue(2, PACKED);
        let theirs = memory.clone();
        let peer = thread::spawn(move || {
            let mut chains = Vec::new();
            device.pop_batch(2, &mut chains).unwrap();
            let used: Vec<_> = chains.iter().map(|chain| (chain.head, 1)).collect();
            for chain in &chains {
                let address = chain.writable[0].addr;
                theirs.set(address, theirs.get(address) + 100);
            }
            device.push_batch(&used).unwrap();
            used.len()
        });
        let buffers = [buffer(0), buffer(1)];
        memory.set(BUFFERS, 0);
        memory.set(BUFFERS + 1, 1);
        let batch: Vec<(&[Segment], &[Segment])> =
            buffers.chunks(1).map(|chain| (&[][..], chain)).collect();
        driver.add_batch(batch, &mut Vec::new()).unwrap();
        let mut heard = 0;
        while hear(&memory, &mut driver, heard, heard) {
            heard += 1;
        }
        let served = peer.join().unwrap();
        while hear(&memory, &mut driver, heard, heard) {
            heard += 1;
        }
        assert_eq!(usize::from(heard), served);
    });
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

models!(what_is_published_is_seen_whole:
    what_is_published_in_a_split_ring_is_seen_whole SPLIT,
    what_is_published_in_a_packed_ring_is_seen_whole PACKED,
);
models!(what_is_reused_is_not_seen_stale:
    what_is_reused_in_a_split_ring_is_not_seen_stale SPLIT,
    what_is_reused_in_a_packed_ring_is_not_seen_stale PACKED,
);
models!(halves_agree_on_what_they_hold:
    halves_of_a_split_ring_agree_on_what_they_hold SPLIT,
    halves_of_a_packed_ring_agree_on_what_they_hold PACKED,
);
models!(conversation:
    nobody_sleeps_for_ever_with_flags SPLIT,
    nobody_sleeps_for_ever_with_event_indexes SPLIT_EVENTS,
    nobody_sleeps_for_ever_with_packed_flags PACKED,
    nobody_sleeps_for_ever_with_packed_events PACKED_EVENTS,
);
models!(kick_race:
    no_notification_is_lost_with_flags SPLIT,
    no_notification_is_lost_with_event_indexes SPLIT_EVENTS,
    no_notification_is_lost_with_packed_flags PACKED,
    no_notification_is_lost_with_packed_events PACKED_EVENTS,
);
models!(interrupt_race:
    no_interrupt_is_lost_with_flags SPLIT,
    no_interrupt_is_lost_with_event_indexes SPLIT_EVENTS,
    no_interrupt_is_lost_with_packed_flags PACKED,
    no_interrupt_is_lost_with_packed_events PACKED_EVENTS,
);

/// The model finds what it is there to find.
#[test]
#[should_panic(expected = "a notification is lost")]
fn notification_would_be_lost_without_fences() {
    kick_race(without_fences(SPLIT_EVENTS));
}

/// The model finds what it is there to find.
#[test]
#[should_panic(expected = "a notification is lost")]
fn packed_notification_would_be_lost_without_fences() {
    kick_race(without_fences(PACKED_EVENTS));
}

/// The model finds what it is there to find.
#[test]
#[should_panic(expected = "an interrupt is lost")]
fn interrupt_would_be_lost_without_fences() {
    interrupt_race(without_fences(SPLIT_EVENTS));
}

/// The model finds what it is there to find.
#[test]
#[should_panic(expected = "an interrupt is lost")]
fn packed_interrupt_would_be_lost_without_fences() {
    interrupt_race(without_fences(PACKED_EVENTS));
}

fn without_fences(format: Format) -> Format {
    Format {
        fences: false,
        ..format
    }
}
