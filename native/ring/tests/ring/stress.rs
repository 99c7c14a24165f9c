//! Driver and device on their own threads: memory order, and no lost wakeup.

use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;

use virtmesh_ring::RingState;

use crate::common::{Rig, ram};
use crate::peers::{Bell, DriverPeer, Random, data_bytes, give_back, take_chains};

const CHAINS: u64 = 100_000;

const SPLIT: bool = false;
const PACKED: bool = true;

fn rig(packed: bool, size: u16, event_idx: bool, indirect: bool) -> Rig {
    let bytes = Rig::bytes(size, data_bytes(size));
    Rig::at(ram(bytes), bytes, size, event_idx, indirect).packed(packed)
}

/// Two threads: the device takes and gives on one. Returns how often each slept: driver, device.
fn run_two(rig: &Rig, chains: u64) -> (u64, u64) {
    let (kick, call) = (Bell::new(), Bell::new());
    let queue = rig.driver();
    let (mut consumer, mut producer) = rig.device().split();
    let slept = thread::scope(|scope| {
        let device = scope.spawn(|| {
            take_chains(
                &mut consumer,
                &kick,
                usize::try_from(chains).unwrap(),
                |batch| {
                    give_back(&mut producer, &rig.memory, &call, &batch);
                },
            )
        });
        let random = Random(0x9e37_79b9_7f4a_7c15 ^ u64::from(rig.config.size));
        let (kick, call) = (&kick, &call);
        let driver = DriverPeer {
            rig: rig.clone(),
            queue,
            kick,
            call,
            random,
        }
        .run(chains);
        (driver, device.join().unwrap())
    });
    check_state(rig, producer.state(consumer.state()), chains);
    slept
}

/// Every popped chain was pushed.
fn check_state(rig: &Rig, state: RingState, chains: u64) {
    if rig.config.packed {
        assert_eq!(state.next_used(), Some(state.next_avail()));
        assert_eq!(state.used_wrap(), state.avail_wrap());
    } else {
        let used = rig.config.device_area + 2;
        let used = rig.memory.load_u16(used, Ordering::Acquire).unwrap();
        assert_eq!(state.next_avail(), used);
        assert_eq!(u64::from(state.next_avail()), chains % 0x1_0000);
    }
}

#[test]
fn nothing_is_lost_with_flags() {
    run_two(&rig(SPLIT, 64, false, false), CHAINS);
}

#[test]
fn nothing_is_lost_with_event_indexes() {
    run_two(&rig(SPLIT, 64, true, false), CHAINS);
}

#[test]
fn nothing_is_lost_with_indirect_tables_and_flags() {
    run_two(&rig(SPLIT, 16, false, true), CHAINS);
}

#[test]
fn nothing_is_lost_with_indirect_tables_and_event_indexes() {
    run_two(&rig(SPLIT, 16, true, true), CHAINS);
}

#[test]
fn nothing_is_lost_in_a_packed_ring_with_flags() {
    run_two(&rig(PACKED, 67, false, false), CHAINS);
}

#[test]
fn nothing_is_lost_in_a_packed_ring_with_event_indexes() {
    run_two(&rig(PACKED, 67, true, false), CHAINS);
}

#[test]
fn nothing_is_lost_in_a_packed_ring_with_indirect_tables_and_flags() {
    run_two(&rig(PACKED, 15, false, true), CHAINS);
}

#[test]
fn nothing_is_lost_in_a_packed_ring_with_indirect_tables_and_event_indexes() {
    run_two(&rig(PACKED, 15, true, true), CHAINS);
}

/// With the smallest queue that holds these chains, both sides find nothing to do all the time.
#[test]
fn nothing_is_lost_when_everyone_sleeps() {
    for (packed, size, event_idx) in [
        (SPLIT, 8, false),
        (SPLIT, 8, true),
        (PACKED, 6, false),
        (PACKED, 6, true),
    ] {
        let rig = rig(packed, size, event_idx, false);
        let (driver, device) = run_two(&rig, CHAINS / 5);
        assert!(
            driver > 0 && device > 0,
            "slept {driver} and {device} times"
        );
    }
}

#[test]
fn nothing_is_lost_when_the_halves_are_apart() {
    run_three(&rig(SPLIT, 32, true, true));
}

#[test]
fn nothing_is_lost_when_the_halves_of_a_packed_ring_are_apart() {
    run_three(&rig(PACKED, 33, true, true));
}

/// Three threads: one takes, one gives, as an engine with its own threads does.
fn run_three(rig: &Rig) {
    let (kick, call) = (Bell::new(), Bell::new());
    let queue = rig.driver();
    let (mut consumer, mut producer) = rig.device().split();
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            let chains = usize::try_from(CHAINS).unwrap();
            take_chains(&mut consumer, &kick, chains, |batch| {
                sender.send(batch).unwrap();
            });
            drop(sender);
        });
        scope.spawn(|| {
            for batch in receiver {
                give_back(&mut producer, &rig.memory, &call, &batch);
            }
        });
        let (kick, call) = (&kick, &call);
        DriverPeer {
            rig: rig.clone(),
            queue,
            kick,
            call,
            random: Random(7),
        }
        .run(CHAINS);
    });
}
