//! Queues that start, stop and restart.

mod common;

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use common::{BASE, Driver, PATIENCE, PLAIN, Rig, Shape, await_event, header};
use virtmesh_blk::spec::{VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT};
use virtmesh_blk::{RequestType, StartError};
use virtmesh_ring::layout::Descriptor;
use virtmesh_ring::{GuestRam, QueueConfig};
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

const OK: u8 = 0;

/// Every request is answered once, whichever side of a stop it fell on.
#[test]
fn a_stopped_queue_goes_on_from_its_base() {
    for packed in [false, true] {
        let rig = Rig::new(&vec![0; 1 << 20], 2);
        let mut driver = rig.with_driver(
            Shape {
                size: 16,
                packed,
                ..PLAIN
            },
            8,
        );
        assert_eq!(rig.device.queue_state(0), None);
        let (mut sent, mut answered) = (0, 0);
        for _ in 0..100 {
            while driver.send(header(VIRTIO_BLK_T_FLUSH, 0), &[], 0).is_some() {
                sent += 1;
            }
            rig.device.request_stop(0);
            assert!(rig.device.join(0, PATIENCE));
            let state = rig.device.queue_state(0);
            assert!(state.is_some());
            let config = QueueConfig {
                state,
                ..driver.config
            };
            rig.device
                .start_queue(0, &driver.ram, config, Arc::clone(&rig.interrupt), None)
                .unwrap();
            answered += driver.answers().len();
        }
        rig.device.kick(0);
        while answered < sent {
            answered += driver.wait().len();
        }
        assert_eq!(
            rig.device.disk().stats.of(RequestType::Flush).ok,
            sent as u64
        );
    }
}

#[test]
fn a_stop_with_requests_in_flight_gives_each_of_them_back_once() {
    let rig = Rig::new(&vec![0; 1 << 20], 2);
    for _ in 0..50 {
        let mut driver = rig.with_driver(Shape { size: 256, ..PLAIN }, 64);
        while driver
            .send(header(VIRTIO_BLK_T_OUT, 0), &[1; 16384], 0)
            .is_some()
        {}
        rig.device.request_stop(0);
        assert!(rig.device.join(0, PATIENCE));
        assert!(rig.device.is_stopped(0));
        assert_eq!(rig.device.in_flight(), 0);
        let served = driver.answers();
        assert!(served.iter().all(|answer| answer.status == OK));
        // Nothing is touched after the stop, kicked or not.
        rig.device.kick(0);
        assert!(driver.answers().is_empty());
    }
}

#[test]
fn a_stopped_queue_can_be_started_again_and_a_running_one_cannot() {
    let rig = Rig::new(&[6; 512], 1);
    let driver = rig.with_driver(PLAIN, 1);
    let interrupt = Arc::clone(&rig.interrupt);
    let twice = rig
        .device
        .start_queue(0, &driver.ram, driver.config, interrupt, None);
    assert!(matches!(twice, Err(StartError::Running { index: 0 })));
    rig.device.request_stop(0);
    assert!(rig.device.join(0, PATIENCE));
    let mut driver = rig.with_driver(PLAIN, 1);
    assert_eq!(driver.ask(header(VIRTIO_BLK_T_IN, 0), &[], 512).status, OK);
}

/// A driver that is gone takes its memory with it, whether the queue is started again or not.
#[test]
fn a_stopped_queue_keeps_no_guest_memory_mapped() {
    let rig = Rig::new(&vec![0; 1 << 20], 2);
    let mut driver = rig.with_driver(PLAIN, 8);
    while driver
        .send(header(VIRTIO_BLK_T_OUT, 0), &[1; 16384], 0)
        .is_some()
    {}
    let inode = inode(&driver.ram);
    assert!(is_mapped(inode));
    rig.device.request_stop(0);
    assert!(rig.device.join(0, PATIENCE));
    drop(driver);
    assert!(!is_mapped(inode));
    assert!(rig.device.queue_state(0).is_some());
}

/// Linux makes chains of `seg_max` + 2 buffers in indirect tables on any ring.
#[test]
fn an_indirect_chain_may_be_longer_than_the_ring() {
    let rig = Rig::new(&[8; 4096], 1);
    let shape = Shape {
        size: 4,
        indirect: true,
        ..PLAIN
    };
    let driver = rig.with_driver(shape, 1);
    let (table, room) = (BASE + (3 << 20), BASE + (3 << 20) + 4096);
    let write = |address, bytes: &[u8]| driver.ram.write(address, bytes).unwrap();
    write(room, &header(VIRTIO_BLK_T_IN, 0));
    let (next, writable, indirect) = (1, 2, 4);
    let pieces = [
        (room, 16, next),
        (room + 512, 512, next | writable),
        (room + 1024, 512, next | writable),
        (room + 1536, 512, next | writable),
        (room + 2048, 512, next | writable),
        (room + 16, 1, writable),
    ];
    for (index, (addr, len, flags)) in (0..).zip(pieces) {
        let next = index + 1;
        write(
            table + 16 * u64::from(index),
            &descriptor(addr, len, flags, next),
        );
    }
    let reference = descriptor(table, 6 * 16, indirect, 0);
    write(driver.config.descriptor_area, &reference);
    write(driver.config.driver_area + 2, &1_u16.to_le_bytes());
    driver.kick.signal();
    await_event(&driver.call);
    let mut found = [0; 2048];
    driver.ram.read(room + 512, &mut found).unwrap();
    assert_eq!(found, [8; 2048]);
    assert_eq!(rig.interrupt.fault(), None);
}

fn descriptor(addr: u64, len: u32, flags: u16, next: u16) -> Vec<u8> {
    let words = Descriptor {
        addr,
        len,
        flags,
        next,
    }
    .to_words();
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// The inode of the file behind guest memory.
fn inode(ram: &GuestRam) -> u64 {
    let memory = ram.as_vm_memory();
    let file = memory.iter().next().unwrap().file_offset().unwrap().file();
    file.metadata().unwrap().ino()
}

/// Say whether a memfd with this inode is mapped in this process.
fn is_mapped(inode: u64) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let inode = inode.to_string();
    maps.lines()
        .any(|line| line.contains("memfd:") && line.split_ascii_whitespace().nth(4) == Some(&inode))
}

#[test]
fn a_queue_outside_memory_is_refused() {
    let rig = Rig::new(&[6; 512], 1);
    let driver = Driver::new(PLAIN, 1);
    let config = QueueConfig {
        device_area: 0,
        ..driver.config
    };
    let refusal = rig
        .device
        .start_queue(0, &driver.ram, config, Arc::clone(&rig.interrupt), None);
    assert!(matches!(refusal, Err(StartError::Config(_))));
    assert!(rig.device.is_stopped(0));
}
