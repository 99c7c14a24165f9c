//! The thread of a queue polls its ring before it sleeps, and what ends that.

mod common;

use std::time::{Duration, Instant};

use common::{Driver, PATIENCE, Rig, Shape, header, options};
use virtmesh_blk::spec::VIRTIO_BLK_T_IN;
use virtmesh_blk::{DiskOptions, PollLimit};
use virtmesh_device::{FaultKind, Rule, Scope, Trigger};

const SHAPES: [Shape; 2] = [
    Shape {
        size: 16,
        event_idx: true,
        indirect: false,
        packed: false,
    },
    Shape {
        size: 16,
        event_idx: false,
        indirect: true,
        packed: true,
    },
];

/// A disk whose queues poll for a time at most, on any number of processors.
fn rig(time: Duration) -> Rig {
    let poll = PollLimit {
        time,
        on_one_processor: true,
    };
    let options = DiskOptions { poll, ..options() };
    Rig::with_options(&[1; 4096], 1, options)
}

fn read(driver: &mut Driver) {
    assert_eq!(driver.ask(header(VIRTIO_BLK_T_IN, 0), &[], 512).status, 0);
}

#[test]
fn a_request_that_comes_soon_is_found_without_a_notification() {
    for shape in SHAPES {
        let rig = rig(PATIENCE);
        let mut driver = rig.with_driver(shape, 4);
        let stats = &rig.device.disk().stats;
        let end = Instant::now() + PATIENCE;
        // Some come before the thread begins to poll: on a processor that both share, many.
        while stats.polls()[0] == 0 {
            read(&mut driver);
            assert!(Instant::now() < end, "{:?}", stats.polls());
        }
        assert_eq!(stats.polls()[1], 0);
        assert!(stats.notifications() <= 1);
    }
}

#[test]
fn a_stop_is_not_kept_waiting_by_a_poll() {
    let rig = rig(10 * PATIENCE);
    let mut driver = rig.with_driver(SHAPES[0], 4);
    read(&mut driver);
    rig.device.request_stop(0);
    assert!(rig.device.join(0, PATIENCE));
}

#[test]
fn a_request_after_a_poll_that_lost_is_notified() {
    for shape in SHAPES {
        let rig = rig(Duration::from_nanos(1));
        let mut driver = rig.with_driver(shape, 4);
        let end = Instant::now() + PATIENCE;
        while rig.device.disk().stats.polls()[1] < 3 {
            read(&mut driver);
            assert!(
                Instant::now() < end,
                "{:?}",
                rig.device.disk().stats.polls()
            );
        }
    }
}

#[test]
fn a_time_of_0_turns_it_off() {
    let rig = rig(Duration::ZERO);
    let mut driver = rig.with_driver(SHAPES[0], 4);
    (0..10).for_each(|_| read(&mut driver));
    assert_eq!(rig.device.disk().stats.polls(), [0, 0]);
}

#[test]
fn a_queue_whose_notifications_may_get_lost_is_not_polled() {
    let rig = rig(PATIENCE);
    let rule = Rule {
        kind: FaultKind::LostNotification,
        scope: Scope::default(),
        trigger: Trigger {
            after: u64::MAX,
            every: 1,
            probability: 1.0,
            limit: 0,
            seed: 0,
        },
        delay: None,
        bytes: None,
    };
    assert!(rig.interrupt.faults().add(rule).is_some());
    let mut driver = rig.with_driver(SHAPES[0], 4);
    (0..10).for_each(|_| read(&mut driver));
    assert_eq!(rig.device.disk().stats.polls(), [0, 0]);
}
