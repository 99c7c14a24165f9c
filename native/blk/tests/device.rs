//! Device and driver in one process, through real rings, doorbells and images.

mod common;

use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::Duration;

use common::{
    BASE, Driver, PATIENCE, PLAIN, Rig, Shape, await_event, header, is_signalled, pattern, range,
};
use virtmesh_blk::spec::{
    VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN,
    VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_WRITE_ZEROES,
};
use virtmesh_blk::{RequestType, StartError};
use virtmesh_device::EventFd;
use virtmesh_ring::Segment;

const OK: u8 = 0;
const IOERR: u8 = 1;
const UNSUPP: u8 = 2;

#[test]
fn what_is_written_is_read_back() {
    let rig = Rig::new(&vec![0; 64 << 10], 2);
    let mut driver = rig.with_driver(PLAIN, 4);
    let data = pattern(4096, 7);
    let written = driver.ask(header(VIRTIO_BLK_T_OUT, 8), &data, 0);
    let read = driver.ask(header(VIRTIO_BLK_T_IN, 8), &[], 4096);
    assert_eq!((written.status, written.written), (OK, 1));
    assert_eq!((read.status, read.written, read.data), (OK, 4097, data));
}

#[test]
fn the_device_id_is_padded_with_nul() {
    let rig = Rig::new(&[0; 512], 1);
    let mut driver = rig.with_driver(PLAIN, 1);
    let answer = driver.ask(header(VIRTIO_BLK_T_GET_ID, 0), &[], 20);
    assert_eq!(answer.data, b"serial-0\0\0\0\0\0\0\0\0\0\0\0\0");
}

/// "len is permitted to be an underestimate" (2.7.8.2): its data was not written, so none is claimed.
#[test]
fn a_refused_read_touches_its_status_alone() {
    let rig = Rig::new(&[9; 4096], 1);
    let mut driver = rig.with_driver(PLAIN, 1);
    driver.ask(header(VIRTIO_BLK_T_IN, 0), &[], 1024);
    let answer = driver.ask(header(VIRTIO_BLK_T_IN, 7), &[], 1024);
    assert_eq!((answer.status, answer.written), (IOERR, 0));
    let mut data = [0; 1024];
    driver.ram.read(driver.data(), &mut data).unwrap();
    assert_eq!(data, [9; 1024]);
}

/// What a driver can list in a few descriptors costs the device nothing if it is refused.
#[test]
fn a_request_of_an_unknown_type_touches_no_data() {
    let rig = Rig::new(&[9; 4096], 1);
    let mut driver = rig.with_driver(PLAIN, 1);
    driver.ram.write(driver.data(), &[0xee; 4096]).unwrap();
    let answer = driver.ask(header(99, 0), &[], 4096);
    assert_eq!((answer.status, answer.written), (UNSUPP, 0));
    let mut data = [0; 4096];
    driver.ram.read(driver.data(), &mut data).unwrap();
    assert_eq!(data, [0xee; 4096]);
}

#[test]
fn a_request_sent_before_the_queue_starts_is_served() {
    let rig = Rig::new(&[5; 512], 1);
    let mut driver = Driver::new(PLAIN, 1);
    driver.send(header(VIRTIO_BLK_T_IN, 0), &[], 512).unwrap();
    driver.kick.drain();
    rig.start(0, &driver);
    assert_eq!(driver.wait()[0].data, [5; 512]);
}

#[test]
fn a_kick_by_hand_serves_a_queue_without_eventfd() {
    let rig = Rig::new(&[5; 512], 1);
    let mut driver = Driver::new(PLAIN, 1);
    let interrupt = Arc::clone(&rig.interrupt);
    interrupt
        .set_call(0, Some(driver.call.as_fd().as_raw_fd()))
        .unwrap();
    rig.device
        .start_queue(0, &driver.ram, driver.config, interrupt, None)
        .unwrap();
    driver.send(header(VIRTIO_BLK_T_IN, 0), &[], 512).unwrap();
    rig.device.kick(0);
    assert_eq!(driver.wait()[0].status, OK);
    assert_eq!(rig.device.disk().stats.notifications(), 0);
}

#[test]
fn write_zeroes_and_discard_act_on_their_ranges() {
    let rig = Rig::new(&[1; 8192], 2);
    let mut driver = rig.with_driver(PLAIN, 4);
    let ranges = [range(1, 2, 0), range(8, 1, 1)].concat();
    let zeroed = driver.ask(header(VIRTIO_BLK_T_WRITE_ZEROES, 0), &ranges, 0);
    let discarded = driver.ask(header(VIRTIO_BLK_T_DISCARD, 0), &range(12, 4, 0), 0);
    let read = driver.ask(header(VIRTIO_BLK_T_IN, 0), &[], 12 * 512);
    let mut expected = vec![1; 12 * 512];
    expected[512..3 * 512].fill(0);
    expected[8 * 512..9 * 512].fill(0);
    assert_eq!((zeroed.status, discarded.status), (OK, OK));
    assert_eq!(read.data, expected);
    let bytes = [RequestType::WriteZeroes, RequestType::Discard]
        .map(|kind| rig.device.disk().stats.of(kind).bytes);
    assert_eq!(bytes, [3 * 512, 4 * 512]);
}

#[test]
fn a_read_only_disk_takes_no_writes_and_can_be_changed_while_it_runs() {
    let rig = Rig::new(&[3; 512], 1);
    let mut driver = rig.with_driver(PLAIN, 1);
    assert!(rig.device.disk().set_read_only(true));
    let refused = driver.ask(header(VIRTIO_BLK_T_OUT, 0), &[4; 512], 0);
    assert!(rig.device.disk().set_read_only(false));
    let before = driver.ask(header(VIRTIO_BLK_T_IN, 0), &[], 512);
    let taken = driver.ask(header(VIRTIO_BLK_T_OUT, 0), &[4; 512], 0);
    assert_eq!(
        (refused.status, before.data, taken.status),
        (IOERR, vec![3; 512], OK)
    );
}

#[test]
fn a_resized_disk_takes_requests_up_to_its_new_end() {
    let rig = Rig::new(&[1; 4096], 1);
    let mut driver = rig.with_driver(PLAIN, 1);
    let before = driver.ask(header(VIRTIO_BLK_T_OUT, 8), &[2; 512], 0);
    rig.device.disk().image.resize(8192).unwrap();
    let after = driver.ask(header(VIRTIO_BLK_T_OUT, 8), &[2; 512], 0);
    rig.device.disk().image.resize(4096).unwrap();
    let shrunk = driver.ask(header(VIRTIO_BLK_T_IN, 8), &[], 512);
    assert_eq!(
        [before.status, after.status, shrunk.status],
        [IOERR, OK, IOERR]
    );
}

#[test]
fn writes_to_an_image_cut_off_under_the_disk_fail_and_do_not_grow_it() {
    let rig = Rig::new(&[1; 8192], 1);
    let mut driver = rig.with_driver(PLAIN, 1);
    rig.file.as_file().set_len(4096).unwrap();
    let inside = driver.ask(header(VIRTIO_BLK_T_OUT, 0), &[2; 512], 0);
    let across = driver.ask(header(VIRTIO_BLK_T_OUT, 7), &[2; 1024], 0);
    let read = driver.ask(header(VIRTIO_BLK_T_IN, 8), &[], 512);
    let zeroes = driver.ask(header(VIRTIO_BLK_T_WRITE_ZEROES, 0), &range(8, 1, 0), 0);
    let statuses = [inside, across, read, zeroes].map(|answer| answer.status);
    assert_eq!(statuses, [OK, IOERR, IOERR, IOERR]);
    assert_eq!(rig.file.as_file().metadata().unwrap().len(), 4096);
    assert_eq!(rig.device.disk().image.truncated(), 3);
}

#[test]
fn flushes_reach_the_image_and_write_through_adds_one_to_each_write() {
    let rig = Rig::new(&[1; 4096], 1);
    let mut driver = rig.with_driver(PLAIN, 1);
    let image = &rig.device.disk().image;
    driver.ask(header(VIRTIO_BLK_T_OUT, 0), &[2; 512], 0);
    let after_write = image.flushes();
    driver.ask(header(VIRTIO_BLK_T_FLUSH, 0), &[], 0);
    let after_flush = image.flushes();
    rig.device.disk().set_write_back(false);
    driver.ask(header(VIRTIO_BLK_T_OUT, 0), &[2; 512], 0);
    driver.ask(header(VIRTIO_BLK_T_WRITE_ZEROES, 0), &range(0, 1, 0), 0);
    driver.ask(header(VIRTIO_BLK_T_IN, 0), &[], 512);
    assert_eq!([after_write, after_flush, image.flushes()], [0, 1, 3]);
}

#[test]
fn many_requests_are_in_flight_at_once_and_all_come_back() {
    let rig = Rig::new(&pattern(1 << 20, 1), 4);
    for packed in [false, true] {
        let mut driver = rig.with_driver(
            Shape {
                size: 256,
                packed,
                ..PLAIN
            },
            64,
        );
        let mut sent = 0;
        let mut statuses = Vec::new();
        while statuses.len() < 2000 {
            while sent < 2000 && driver.send(header(VIRTIO_BLK_T_FLUSH, 0), &[], 0).is_some() {
                sent += 1;
            }
            statuses.extend(driver.wait().iter().map(|answer| answer.status));
        }
        assert!(statuses.iter().all(|&status| status == OK));
        rig.device.request_stop(0);
        assert!(rig.device.join(0, PATIENCE));
    }
    assert_eq!(rig.device.disk().stats.of(RequestType::Flush).ok, 4000);
}

#[test]
fn a_broken_ring_asks_for_a_reset_and_stops_the_queue() {
    let rig = Rig::new(&[6; 512], 1);
    let driver = rig.with_driver(PLAIN, 1);
    let config_call = EventFd::new().unwrap();
    rig.interrupt
        .set_config_call(Some(config_call.as_fd().as_raw_fd()))
        .unwrap();
    // avail.idx, far beyond the size of the queue.
    driver
        .ram
        .write(driver.config.driver_area + 2, &9999_u16.to_le_bytes())
        .unwrap();
    driver.kick.signal();
    await_event(&config_call);
    assert!(rig.device.join(0, PATIENCE));
    let fault = rig.interrupt.fault().unwrap();
    assert!(
        fault.starts_with("queue 0: ") && fault.contains("9999"),
        "{fault}"
    );
}

#[test]
fn a_chain_without_a_status_byte_asks_for_a_reset() {
    let rig = Rig::new(&[6; 512], 1);
    let mut driver = rig.with_driver(PLAIN, 1);
    driver
        .queue
        .add(
            &[Segment {
                addr: BASE,
                len: 16,
            }],
            &[],
        )
        .unwrap();
    driver.kick.signal();
    assert!(rig.device.join(0, PATIENCE));
    let fault = rig.interrupt.fault().unwrap();
    assert!(fault.contains("no status byte"), "{fault}");
    assert_eq!(rig.device.disk().stats.malformed(), 1);
}

#[test]
fn doorbells_that_the_driver_filled_and_made_blocking_do_not_hang_a_stop() {
    let rig = Rig::new(&[6; 512], 1);
    let mut driver = rig.with_driver(PLAIN, 8);
    let full = (u64::MAX - 1).to_ne_bytes();
    for event in [&driver.call, &driver.kick] {
        let descriptor = event.as_fd().as_raw_fd();
        // SAFETY: the buffer is valid for its length; F_SETFL takes no pointers.
        unsafe {
            libc::write(descriptor, full.as_ptr().cast(), full.len());
            libc::fcntl(descriptor, libc::F_SETFL, 0);
        }
    }
    while driver.send(header(VIRTIO_BLK_T_IN, 0), &[], 512).is_some() {}
    rig.device.kick(0);
    rig.device.request_stop(0);
    assert!(rig.device.join(0, PATIENCE));
    assert!(rig.device.is_stopped(0));
}

#[test]
fn an_interrupt_the_driver_did_not_ask_for_is_counted_and_not_raised() {
    let rig = Rig::new(&[6; 512], 1);
    let mut driver = rig.with_driver(
        Shape {
            event_idx: false,
            ..PLAIN
        },
        1,
    );
    driver.queue.disable_interrupts();
    driver.send(header(VIRTIO_BLK_T_IN, 0), &[], 512).unwrap();
    rig.device.request_stop(0);
    assert!(rig.device.join(0, PATIENCE));
    let served = driver.answers().len() as u64;
    assert_eq!(rig.interrupt.suppressed(), served);
    assert_eq!(rig.interrupt.sequence(), 0);
    assert!(!is_signalled(&driver.call, Duration::ZERO));
}

#[test]
fn closing_stops_every_queue_and_releases_the_image() {
    let rig = Rig::new(&[6; 4096], 2);
    let drivers = [0, 1].map(|index| {
        let driver = Driver::new(PLAIN, 4);
        rig.start(index, &driver);
        driver
    });
    let Rig {
        device,
        interrupt,
        file,
    } = rig;
    device.close();
    assert!(device.is_stopped(0) && device.is_stopped(1));
    let [driver, _] = drivers;
    let closed = device.start_queue(0, &driver.ram, driver.config, interrupt, None);
    assert!(matches!(closed, Err(StartError::Closed)));
    drop(device);
    virtmesh_blk::Image::open(file.path(), false, 512).unwrap();
}

#[test]
fn notifications_by_eventfd_are_counted() {
    let rig = Rig::new(&[6; 512], 1);
    let mut driver = rig.with_driver(PLAIN, 1);
    driver.ask(header(VIRTIO_BLK_T_IN, 0), &[], 512);
    driver.kick.signal();
    let counted = (0..100_000).any(|_| {
        driver.ask(header(VIRTIO_BLK_T_IN, 0), &[], 512);
        rig.device.disk().stats.notifications() > 0
    });
    assert!(counted);
}
