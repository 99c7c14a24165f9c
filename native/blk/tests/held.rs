//! Requests that the storage fails are held and tried again, where the disk was made so.

mod common;

use std::time::{Duration, Instant};

use common::{Driver, PATIENCE, PLAIN, Rig, header, is_signalled, options};
use virtmesh_blk::DiskOptions;
use virtmesh_blk::spec::{VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT};
use virtmesh_device::{FaultKind, Rule, Scope, Trigger};

/// The size of the image, and of what is left of it while the storage is away.
const WHOLE: usize = 64 << 10;
const CUT_OFF: u64 = 4096;
/// A bound of a reset (100 ms), and what a busy host adds to it.
const RESET: Duration = Duration::from_secs(5);

/// A disk that holds what fails, and whose image is cut off.
fn away() -> Rig {
    let held = DiskOptions {
        hold_failed: true,
        ..options()
    };
    let rig = Rig::with_options(&vec![1; WHOLE], 2, held);
    rig.file.as_file().set_len(CUT_OFF).unwrap();
    rig
}

/// Wait until so many requests are held.
fn await_held(rig: &Rig, count: usize) {
    let end = Instant::now() + PATIENCE;
    while rig.device.held() != count {
        assert!(Instant::now() < end, "{} are held", rig.device.held());
        std::thread::yield_now();
    }
}

/// Give the image back.
fn mend(rig: &Rig) {
    rig.file
        .as_file()
        .set_len(WHOLE.try_into().unwrap())
        .unwrap();
}

fn send_both(driver: &mut Driver) {
    driver
        .send(header(VIRTIO_BLK_T_OUT, 16), &[7; 1024], 0)
        .unwrap();
    driver.send(header(VIRTIO_BLK_T_IN, 64), &[], 512).unwrap();
}

#[test]
fn what_fails_is_held_and_succeeds_by_itself_when_the_storage_is_back() {
    let rig = away();
    let mut driver = rig.with_driver(PLAIN, 4);
    send_both(&mut driver);
    await_held(&rig, 2);
    let oldest = rig.device.oldest(0).unwrap();
    assert_eq!(oldest.held, Some("TRUNCATED"));
    // Others go on: a read of what is there, and a flush.
    let there = driver.ask(header(VIRTIO_BLK_T_IN, 0), &[], 512);
    let flushed = driver.ask(header(VIRTIO_BLK_T_FLUSH, 0), &[], 0);
    assert_eq!((there.status, flushed.status), (0, 0));
    mend(&rig);
    let mut answers = driver.wait();
    while answers.len() < 2 {
        answers.extend(driver.wait());
    }
    assert_eq!(answers.iter().map(|one| one.status).sum::<u8>(), 0);
    assert_eq!(
        driver.ask(header(VIRTIO_BLK_T_IN, 17), &[], 512).data,
        [7; 512]
    );
    assert_eq!((rig.device.held(), rig.device.oldest(0)), (0, None));
    // Each was told of once, however often it was tried.
    assert_eq!(rig.device.disk().failures.since(0).len(), 2);
}

#[test]
fn somebody_may_have_it_tried_at_once_or_give_it_up() {
    let rig = away();
    let mut driver = rig.with_driver(PLAIN, 4);
    send_both(&mut driver);
    await_held(&rig, 2);
    assert_eq!(rig.device.resume(false), 2);
    await_held(&rig, 2);
    while rig.device.held() > 0 {
        // One that is being tried just now is not among them.
        rig.device.resume(true);
    }
    let mut answers = driver.wait();
    while answers.len() < 2 {
        answers.extend(driver.wait());
    }
    assert!(answers.iter().all(|one| one.status == 1), "{answers:?}");
    assert_eq!(rig.device.resume(false), 0);
}

#[test]
fn a_reset_drops_what_is_held_and_does_not_wait_for_it() {
    let rig = away();
    let mut driver = rig.with_driver(PLAIN, 4);
    send_both(&mut driver);
    await_held(&rig, 2);
    rig.device.abandon(0);
    assert!(rig.device.join(0, RESET));
    assert_eq!((rig.device.held(), rig.device.in_flight()), (0, 0));
    mend(&rig);
    assert_eq!(driver.answers(), []);
    let mut next = rig.with_driver(PLAIN, 1);
    assert_eq!(
        next.ask(header(VIRTIO_BLK_T_IN, 17), &[], 512).data,
        [0; 512]
    );
}

#[test]
fn a_queue_that_is_stopped_has_it_tried_once_more() {
    let rig = away();
    let mut driver = rig.with_driver(PLAIN, 4);
    send_both(&mut driver);
    await_held(&rig, 2);
    rig.device.request_stop(0);
    assert!(rig.device.join(0, PATIENCE));
    assert!(rig.device.queue_state(0).is_some());
    let answers = driver.wait();
    assert_eq!(answers.len(), 2);
    assert!(answers.iter().all(|one| one.status == 1), "{answers:?}");
}

#[test]
fn another_queue_goes_on() {
    let rig = away();
    let mut first = rig.with_driver(PLAIN, 4);
    let mut second = Driver::new(PLAIN, 1);
    rig.start(1, &second);
    send_both(&mut first);
    await_held(&rig, 2);
    for _ in 0..100 {
        assert_eq!(second.ask(header(VIRTIO_BLK_T_IN, 0), &[], 512).status, 0);
    }
    assert!(!is_signalled(&first.call, Duration::ZERO));
}

#[test]
fn a_disk_that_is_closed_waits_for_nothing_that_is_held() {
    let rig = away();
    let mut driver = rig.with_driver(PLAIN, 4);
    send_both(&mut driver);
    await_held(&rig, 2);
    rig.device.close();
    assert_eq!(driver.answers(), []);
}

#[test]
fn a_disk_without_the_option_reports() {
    let rig = Rig::new(&vec![1; WHOLE], 1);
    let mut driver = rig.with_driver(PLAIN, 1);
    rig.file.as_file().set_len(CUT_OFF).unwrap();
    assert_eq!(driver.ask(header(VIRTIO_BLK_T_IN, 64), &[], 512).status, 1);
    assert_eq!(rig.device.held(), 0);
}

/// Order an I/O error of reads at a disk that holds what fails.
fn faulty(limit: u64) -> (Rig, u32) {
    let held = DiskOptions {
        hold_failed: true,
        ..options()
    };
    let rig = Rig::with_options(&vec![1; WHOLE], 2, held);
    let fault = rig.interrupt.faults().add(Rule {
        kind: FaultKind::IoError,
        scope: Scope {
            types: 1 << VIRTIO_BLK_T_IN,
            ..Scope::default()
        },
        trigger: Trigger {
            after: 0,
            every: 1,
            probability: 1.0,
            limit,
            seed: 0,
        },
        delay: None,
        bytes: None,
    });
    (rig, fault.unwrap())
}

#[test]
fn an_error_on_demand_is_held_until_its_fault_is_taken_back() {
    let (rig, fault) = faulty(0);
    let mut driver = rig.with_driver(PLAIN, 2);
    driver.send(header(VIRTIO_BLK_T_IN, 0), &[], 512).unwrap();
    await_held(&rig, 1);
    assert_eq!(rig.device.oldest(0).unwrap().held, Some("INJECTED"));
    // It is asked for anew with each try, and takes that too.
    rig.device.resume(false);
    let end = Instant::now() + PATIENCE;
    while rig.interrupt.faults().list()[0].hits < 2 {
        assert!(Instant::now() < end);
        std::thread::yield_now();
    }
    await_held(&rig, 1);
    // Others go on.
    let written = driver.ask(header(VIRTIO_BLK_T_OUT, 8), &[7; 512], 0);
    assert_eq!(written.status, 0);
    rig.interrupt.faults().remove(fault);
    assert_eq!(driver.wait()[0].status, 0);
    assert_eq!(rig.device.held(), 0);
    assert_eq!(rig.device.disk().failures.since(0).len(), 1);
}

#[test]
fn an_error_on_demand_that_is_used_up_lets_its_request_pass() {
    let (rig, _) = faulty(3);
    let mut driver = rig.with_driver(PLAIN, 1);
    driver.send(header(VIRTIO_BLK_T_IN, 0), &[], 512).unwrap();
    let end = Instant::now() + PATIENCE;
    while !is_signalled(&driver.call, Duration::ZERO) {
        assert!(Instant::now() < end);
        rig.device.resume(false);
    }
    assert_eq!(driver.wait()[0].data, [1; 512]);
    let state = &rig.interrupt.faults().list()[0];
    assert_eq!((state.seen, state.hits), (4, 3));
}

#[test]
fn an_error_on_demand_that_is_given_up_is_reported() {
    let (rig, _) = faulty(0);
    let mut driver = rig.with_driver(PLAIN, 1);
    driver.send(header(VIRTIO_BLK_T_IN, 0), &[], 512).unwrap();
    await_held(&rig, 1);
    while rig.device.held() > 0 {
        rig.device.resume(true);
    }
    assert_eq!(driver.wait()[0].status, 1);
}
