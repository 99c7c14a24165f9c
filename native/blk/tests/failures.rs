//! Why requests fail is kept, bounded, and told to whoever waits for it.

mod common;

use std::io;
use std::time::Duration;

use common::{BASE, PLAIN, Rig, header};
use virtmesh_blk::failure::Cause;
use virtmesh_blk::spec::{VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT};
use virtmesh_blk::{RequestType, cause_names};

/// Longer than any test waits.
const LONG: Duration = Duration::from_secs(20);

#[test]
fn a_failure_has_request_cause_and_the_address_of_its_status() {
    let rig = Rig::new(&[1; 8192], 1);
    let mut driver = rig.with_driver(PLAIN, 1);
    rig.file.as_file().set_len(4096).unwrap();
    driver.ask(header(VIRTIO_BLK_T_IN, 0), &[], 512);
    driver.ask(header(VIRTIO_BLK_T_OUT, 9), &[2; 1024], 0);
    driver.ask(header(VIRTIO_BLK_T_IN, 99), &[], 512);
    let failures = rig.device.disk().failures.since(0);
    let told: Vec<_> = failures
        .iter()
        .map(|one| {
            let cause = (one.cause.name(), one.cause.errno);
            (one.number, one.request_type, one.sector, one.bytes, cause)
        })
        .collect();
    let cut_off = (1, RequestType::Out, 9, 1024, ("TRUNCATED", 0));
    // The sector of a request that is refused is not believed.
    let refused = (2, RequestType::In, 0, 0, ("REFUSED", 0));
    assert_eq!(told, [cut_off, refused]);
    // The driver of the test has one slot, so that both had the same status byte.
    assert!(failures[0].status_address > BASE);
    assert_eq!(failures[0].status_address, failures[1].status_address);
    assert_eq!(rig.device.disk().failures.since(1), failures[1..]);
    let counts = rig.device.disk().failures.counts(RequestType::Out);
    assert_eq!(counts, [("TRUNCATED", 1)]);
}

#[test]
fn the_last_failures_are_kept_and_no_more() {
    let rig = Rig::new(&[1; 8192], 1);
    let mut driver = rig.with_driver(PLAIN, 1);
    for _ in 0..300 {
        driver.ask(header(VIRTIO_BLK_T_IN, 99), &[], 512);
    }
    let failures = rig.device.disk().failures.since(0);
    let numbers: Vec<_> = failures.iter().map(|one| one.number).collect();
    assert_eq!(numbers, (45..=300).collect::<Vec<_>>());
}

#[test]
fn who_waits_hears_of_the_storage_and_not_of_what_the_driver_did_wrong() {
    let rig = Rig::new(&[1; 8192], 1);
    let mut driver = rig.with_driver(PLAIN, 1);
    rig.file.as_file().set_len(4096).unwrap();
    driver.ask(header(VIRTIO_BLK_T_IN, 99), &[], 512);
    let failures = &rig.device.disk().failures;
    assert_eq!(failures.wait(0, Duration::ZERO), []);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| failures.wait(0, LONG));
        driver.ask(header(VIRTIO_BLK_T_IN, 8), &[], 512);
        let told = waiting.join().unwrap();
        assert_eq!((told.len(), told[0].number), (1, 2));
    });
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| failures.wait(2, LONG));
        rig.device.close();
        assert_eq!(waiting.join().unwrap(), []);
    });
}

#[test]
fn a_cause_has_the_name_of_its_errno() {
    let name = |errno| Cause::of(&io::Error::from_raw_os_error(errno)).name();
    let names = [libc::ENOSPC, libc::EIO, libc::EFBIG, libc::EPROTO].map(name);
    assert_eq!(names, ["ENOSPC", "EIO", "EFBIG", "OTHER"]);
    let unique: std::collections::BTreeSet<_> = cause_names().into_iter().collect();
    assert_eq!(unique.len(), cause_names().len());
}
