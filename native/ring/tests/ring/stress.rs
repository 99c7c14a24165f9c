//! Driver and device on their own threads: memory order, and no lost wakeup.

use std::sync::mpsc;
use std::thread;

use crate::common::{Rig, ram};
use crate::peers::{Bell, DriverPeer, Random, data_bytes, give_back, take_chains};

const CHAINS: u64 = 100_000;

fn rig(size: u16, event_idx: bool, indirect: bool) -> Rig {
    let bytes = Rig::bytes(size, data_bytes(size));
    Rig::at(ram(bytes), bytes, size, event_idx, indirect)
}

/// Two threads: the device takes and gives on one. Returns how often each slept: driver, device.
fn run_two(size: u16, event_idx: bool, indirect: bool, chains: u64) -> (u64, u64) {
    let rig = rig(size, event_idx, indirect);
    let (kick, call) = (Bell::new(), Bell::new());
    let queue = rig.driver();
    let (mut popper, mut pusher) = rig.device().split();
    let slept = thread::scope(|scope| {
        let device = scope.spawn(|| {
            take_chains(
                &mut popper,
                &kick,
                usize::try_from(chains).unwrap(),
                |batch| {
                    give_back(&mut pusher, &rig.memory, &call, &batch);
                },
            )
        });
        let random = Random(0x9e37_79b9_7f4a_7c15 ^ u64::from(size));
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
    assert_eq!(pusher.next_used(), popper.next_avail());
    assert_eq!(u64::from(pusher.next_used()), chains % 0x1_0000);
    slept
}

#[test]
fn nothing_is_lost_with_flags() {
    run_two(64, false, false, CHAINS);
}

#[test]
fn nothing_is_lost_with_event_indexes() {
    run_two(64, true, false, CHAINS);
}

#[test]
fn nothing_is_lost_with_indirect_tables_and_flags() {
    run_two(16, false, true, CHAINS);
}

#[test]
fn nothing_is_lost_with_indirect_tables_and_event_indexes() {
    run_two(16, true, true, CHAINS);
}

/// With the smallest queue that holds these chains, both sides find nothing to do all the time.
#[test]
fn nothing_is_lost_when_everyone_sleeps() {
    for event_idx in [false, true] {
        let (driver, device) = run_two(8, event_idx, false, CHAINS / 5);
        assert!(
            driver > 0 && device > 0,
            "slept {driver} and {device} times"
        );
    }
}

/// Three threads: one takes, one gives, as an engine with its own threads does.
#[test]
fn nothing_is_lost_when_the_halves_are_apart() {
    let rig = rig(32, true, true);
    let (kick, call) = (Bell::new(), Bell::new());
    let queue = rig.driver();
    let (mut popper, mut pusher) = rig.device().split();
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            let chains = usize::try_from(CHAINS).unwrap();
            take_chains(&mut popper, &kick, chains, |batch| {
                sender.send(batch).unwrap();
            });
            drop(sender);
        });
        scope.spawn(|| {
            for batch in receiver {
                give_back(&mut pusher, &rig.memory, &call, &batch);
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
