//! The log of writes: what a driver's requests leave in it, in which order.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use common::{Driver, PLAIN, Rig, header, image_file, options, range};
use tempfile::TempDir;
use virtmesh_blk::spec::{
    VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT,
    VIRTIO_BLK_T_WRITE_ZEROES,
};
use virtmesh_blk::{BlkDevice, Disk, Image, SyncEngine, WriteLog};
use virtmesh_device::Interrupt;

const SECTOR: usize = 512;

/// An entry: first sector, sectors, flags, times of submission and end, own flags, data.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    place: (u64, u64),
    flags: u64,
    begun: u64,
    ended: u64,
    own: u64,
    data: Vec<u8>,
}

/// A disk of 64 KiB that records, and the folder of its log.
fn recording() -> (Rig, TempDir) {
    let folder = TempDir::new().unwrap();
    let file = image_file(&vec![9; 64 << 10]);
    let image = Image::open(file.path(), false, 512).unwrap();
    let log = WriteLog::open(&folder.path().join("log"), &image, 512).unwrap();
    let disk = Disk::new(image, options())
        .unwrap()
        .with_log(Some(Arc::new(log)));
    disk.set_features(common::FEATURES);
    let device = BlkDevice::new(disk, Arc::new(SyncEngine::new(2, 1).unwrap()));
    let interrupt = Arc::new(Interrupt::new().unwrap());
    let rig = Rig {
        device,
        interrupt,
        file,
    };
    (rig, folder)
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// The entries of a log, without that of its start.
fn entries(folder: &TempDir) -> Vec<Entry> {
    let log = fs::read(folder.path().join("log")).unwrap();
    let mut at = SECTOR;
    let mut found = Vec::new();
    for _ in 0..number(&log, 16) {
        let head = &log[at..at + SECTOR];
        at += SECTOR;
        let place = (number(head, 0), number(head, 8));
        let flags = number(head, 16);
        let length = if flags == 0 {
            usize::try_from(place.1).unwrap() * SECTOR
        } else {
            0
        };
        found.push(Entry {
            place,
            flags,
            begun: number(head, 456),
            ended: number(head, 464),
            own: number(head, 472),
            data: log[at..at + length].to_vec(),
        });
        at += length;
    }
    assert_eq!(at, log.len());
    assert_eq!(found.remove(0).own, 8);
    found
}

fn ask_all(driver: &mut Driver) {
    for (head, output) in [
        (header(VIRTIO_BLK_T_OUT, 3), vec![7; 1024]),
        (header(VIRTIO_BLK_T_IN, 3), vec![]),
        (header(VIRTIO_BLK_T_FLUSH, 0), vec![]),
        (
            header(VIRTIO_BLK_T_WRITE_ZEROES, 0),
            range(8, 4, 0).to_vec(),
        ),
        (header(VIRTIO_BLK_T_DISCARD, 0), range(16, 8, 0).to_vec()),
        (header(VIRTIO_BLK_T_OUT, 1000), vec![7; 512]),
    ] {
        let input = if output.is_empty() && head[0] == 0 {
            512
        } else {
            0
        };
        driver.ask(head, &output, input);
    }
}

#[test]
fn each_change_and_flush_is_recorded_and_nothing_else() {
    let (rig, folder) = recording();
    let mut driver = rig.with_driver(PLAIN, 4);
    ask_all(&mut driver);
    let found = entries(&folder);
    let kinds: Vec<_> = found
        .iter()
        .map(|one| (one.place, one.flags, one.own))
        .collect();
    assert_eq!(
        kinds,
        [
            ((3, 2), 0, 0),
            ((0, 0), 1, 0),
            ((0, 0), 8, 4),
            ((8, 4), 0, 1),
            ((16, 8), 4, 1),
        ]
    );
    assert_eq!(found[0].data, [7; 1024]);
    assert_eq!(found[3].data, [0; 2048]);
    // One after the other: each began after the one before had ended.
    let mut last = 0;
    for one in &found {
        if one.own != 4 {
            assert!(last < one.begun, "{found:?}");
        }
        assert!(one.begun < one.ended);
        last = one.ended;
    }
    assert_eq!(found[2].begun, found[1].begun);
}

#[test]
fn a_write_through_disk_records_a_flush_with_each_write() {
    let (rig, folder) = recording();
    rig.device.disk().set_write_back(false);
    let mut driver = rig.with_driver(PLAIN, 4);
    driver.ask(header(VIRTIO_BLK_T_OUT, 0), &[7; 512], 0);
    driver.ask(header(VIRTIO_BLK_T_OUT, 1), &[8; 512], 0);
    let found: Vec<_> = entries(&folder)
        .iter()
        .map(|one| (one.flags, one.own))
        .collect();
    let each = [(0, 0), (1, 0), (8, 4)];
    assert_eq!(found, [each, each].concat());
}

#[test]
fn a_flush_stands_before_what_was_under_way_when_it_was_submitted() {
    // Many writes and flushes at a time: whatever their order, a flush in the log is before what had not
    // ended when it was submitted, and each request has ended before the driver may know.
    let (rig, folder) = recording();
    let mut driver = rig.with_driver(PLAIN, 16);
    let mut sent = 0;
    let mut answered = 0;
    while answered < 400 {
        let head = if sent % 5 == 4 {
            header(VIRTIO_BLK_T_FLUSH, 0)
        } else {
            header(VIRTIO_BLK_T_OUT, sent % 64)
        };
        let data = if sent % 5 == 4 { vec![] } else { vec![7; 512] };
        if sent < 400 && driver.send(head, &data, 0).is_some() {
            sent += 1;
            continue;
        }
        answered += driver.wait().len();
    }
    let found = entries(&folder);
    let flushes: Vec<_> = found
        .iter()
        .enumerate()
        .filter(|one| one.1.flags == 1)
        .collect();
    assert_eq!(flushes.len(), 80);
    for (place, flush) in flushes {
        for (at, one) in found.iter().enumerate().filter(|one| one.1.flags == 0) {
            assert_eq!(at < place, one.ended < flush.begun, "{one:?} {flush:?}");
        }
    }
    let ends: Vec<_> = found.iter().map(|one| one.ended).collect();
    assert!(ends.is_sorted());
}

#[test]
fn others_may_not_read_a_log_that_is_made() {
    let (_rig, folder) = recording();
    let about = fs::metadata(folder.path().join("log")).unwrap();
    assert_eq!(about.permissions().mode() & 0o777, 0o600);
}
