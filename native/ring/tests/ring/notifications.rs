//! Which notifications are sent, with flags and with event indexes (virtio 1.4, 2.7.7, 2.7.10, 2.8.10).

use std::sync::atomic::Ordering;

use virtmesh_ring::{DeviceQueue, DriverQueue};

use crate::common::Rig;

/// Packed or split; with or without event indexes.
const KINDS: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

fn pair((packed, event_idx): (bool, bool)) -> (Rig, DriverQueue, DeviceQueue) {
    let rig = Rig::new(4, event_idx, false).packed(packed);
    let (driver, device) = (rig.driver(), rig.device());
    (rig, driver, device)
}

/// Add a chain and have it used.
fn turn(rig: &Rig, driver: &mut DriverQueue, device: &mut DeviceQueue) {
    driver.add(&[], &[rig.segment(0, 4)]).unwrap().unwrap();
    let head = device.pop().unwrap().unwrap().head;
    device.push(head, 4).unwrap();
}

#[test]
fn first_chain_notifies_and_interrupts() {
    for kind in KINDS {
        let (rig, mut driver, mut device) = pair(kind);
        turn(&rig, &mut driver, &mut device);
        assert!(driver.should_notify());
        assert!(device.needs_interrupt());
    }
}

#[test]
fn nothing_new_notifies_nobody() {
    for kind in KINDS {
        let (rig, mut driver, mut device) = pair(kind);
        assert!(!driver.should_notify());
        assert!(!device.needs_interrupt());
        turn(&rig, &mut driver, &mut device);
        driver.should_notify();
        device.needs_interrupt();
        assert!(!driver.should_notify());
        assert!(!device.needs_interrupt());
    }
}

#[test]
fn disabled_notifications_are_not_sent() {
    for kind in KINDS {
        let (rig, mut driver, mut device) = pair(kind);
        device.disable_notifications();
        driver.disable_interrupts();
        for _ in 0..3 {
            turn(&rig, &mut driver, &mut device);
            assert!(!driver.should_notify());
            assert!(!device.needs_interrupt());
            driver.pop_used().unwrap().unwrap();
        }
    }
}

#[test]
fn enabled_notifications_are_sent() {
    for kind in KINDS {
        let (rig, mut driver, mut device) = pair(kind);
        device.disable_notifications();
        driver.disable_interrupts();
        turn(&rig, &mut driver, &mut device);
        driver.pop_used().unwrap().unwrap();
        driver.should_notify();
        device.needs_interrupt();
        assert!(!device.enable_notifications().unwrap());
        assert!(!driver.enable_interrupts());
        turn(&rig, &mut driver, &mut device);
        assert!(driver.should_notify());
        assert!(device.needs_interrupt());
    }
}

#[test]
fn enabling_tells_what_waits_already() {
    for kind in KINDS {
        let (rig, mut driver, mut device) = pair(kind);
        driver.add(&[], &[rig.segment(0, 4)]).unwrap().unwrap();
        assert!(device.enable_notifications().unwrap());
        let head = device.pop().unwrap().unwrap().head;
        device.push(head, 0).unwrap();
        assert!(driver.enable_interrupts());
    }
}

#[test]
fn event_index_asks_for_one_notification() {
    for packed in [false, true] {
        let (rig, mut driver, mut device) = pair((packed, true));
        assert!(!device.enable_notifications().unwrap());
        assert!(!driver.enable_interrupts());
        turn(&rig, &mut driver, &mut device);
        assert!(driver.should_notify());
        assert!(device.needs_interrupt());
        turn(&rig, &mut driver, &mut device);
        assert!(!driver.should_notify());
        assert!(!device.needs_interrupt());
    }
}

#[test]
fn batch_that_passes_the_event_index_notifies() {
    for packed in [false, true] {
        let (rig, mut driver, mut device) = pair((packed, true));
        assert!(!device.enable_notifications().unwrap());
        for _ in 0..3 {
            turn(&rig, &mut driver, &mut device);
        }
        assert!(driver.should_notify());
        assert!(device.needs_interrupt());
    }
}

#[test]
fn event_index_is_met_after_more_chains_than_indexes() {
    for packed in [false, true] {
        let (rig, mut driver, mut device) = pair((packed, true));
        for _ in 0..=0xffff {
            turn(&rig, &mut driver, &mut device);
            driver.pop_used().unwrap().unwrap();
        }
        assert!(driver.should_notify());
        assert!(device.needs_interrupt());
    }
}

#[test]
fn flags_stay_clear_with_event_indexes() {
    let (rig, mut driver, mut device) = pair((false, true));
    device.disable_notifications();
    driver.disable_interrupts();
    let flags = |area| rig.memory.load_u16(area, Ordering::Relaxed).unwrap();
    assert_eq!(flags(rig.config.driver_area), 0);
    assert_eq!(flags(rig.config.device_area), 0);
}

#[test]
fn flags_of_the_peer_are_ignored_with_event_indexes() {
    let (rig, mut driver, mut device) = pair((false, true));
    for area in [rig.config.driver_area, rig.config.device_area] {
        rig.memory.store_u16(area, 1, Ordering::Relaxed).unwrap();
    }
    turn(&rig, &mut driver, &mut device);
    assert!(driver.should_notify());
    assert!(device.needs_interrupt());
}

#[test]
fn event_indexes_are_ignored_without_the_feature() {
    let (rig, mut driver, mut device) = pair((false, false));
    let used_event = rig.config.driver_area + 4 + 2 * 4;
    let avail_event = rig.config.device_area + 4 + 8 * 4;
    for address in [used_event, avail_event] {
        rig.memory
            .store_u16(address, 1000, Ordering::Relaxed)
            .unwrap();
    }
    turn(&rig, &mut driver, &mut device);
    assert!(driver.should_notify());
    assert!(device.needs_interrupt());
}

#[test]
fn disabling_holds_for_a_full_queue_of_the_largest_size() {
    for packed in [false, true] {
        let rig = Rig::new(32768, true, false).packed(packed);
        let (mut driver, mut device) = (rig.driver(), rig.device());
        device.disable_notifications();
        let buffer = [rig.segment(0, 1)];
        for _ in 0..32768 {
            driver.add(&buffer, &[]).unwrap().unwrap();
        }
        assert!(!driver.should_notify());
        assert_eq!(device.pop_batch(40000, &mut Vec::new()).unwrap(), 32768);
    }
}
