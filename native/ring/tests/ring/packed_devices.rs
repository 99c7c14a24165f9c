//! The driver's error for each violation by a device in a packed ring.

use proptest::prelude::*;
use virtmesh_ring::layout::VIRTQ_DESC_F_WRITE;
use virtmesh_ring::layout::packed::{VIRTQ_DESC_F_AVAIL, VIRTQ_DESC_F_USED};
use virtmesh_ring::{DriverQueue, RingError};

use crate::common::{BASE, Rig};

const WRITE: u16 = VIRTQ_DESC_F_WRITE;
/// Used in the first lap.
const FIRST: u16 = VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED;

/// A ring of 5 with one chain in flight: two buffers, 8 bytes of them writable.
fn rig() -> (Rig, DriverQueue, u16) {
    let rig = Rig::new(5, false, false).packed(true);
    let mut driver = rig.driver();
    let head = driver
        .add(&[rig.segment(0, 4)], &[rig.segment(8, 8)])
        .unwrap()
        .unwrap();
    (rig, driver, head)
}

/// Use entry 0 as a device without checks would; its address stays.
fn hand_back(rig: &Rig, id: u16, len: u32, flags: u16) {
    rig.set_packed(0, 0, len, id, flags);
}

#[test]
fn descriptor_of_another_lap_is_not_used() {
    for flags in [0, VIRTQ_DESC_F_AVAIL, VIRTQ_DESC_F_USED] {
        let (rig, mut driver, head) = rig();
        hand_back(&rig, head, 0, flags);
        assert!(!driver.can_pop());
        assert_eq!(driver.pop_used(), Ok(None));
    }
}

#[test]
fn used_chain_frees_all_of_its_descriptors() {
    let (rig, mut driver, head) = rig();
    assert_eq!(driver.free(), 3);
    hand_back(&rig, head, 8, FIRST | WRITE);
    assert_eq!(driver.pop_used(), Ok(Some((head, 8))));
    assert_eq!((driver.free(), driver.in_flight()), (5, 0));
}

/// 2.8.4: without the flag, the length is reserved.
#[test]
fn length_means_nothing_without_the_write_flag() {
    let (rig, mut driver, head) = rig();
    hand_back(&rig, head, u32::MAX, FIRST);
    assert_eq!(driver.pop_used(), Ok(Some((head, 0))));
}

#[test]
fn used_length_may_not_exceed_the_chain() {
    let (rig, mut driver, head) = rig();
    hand_back(&rig, head, 9, FIRST | WRITE);
    let expected = RingError::UsedLengthTooLarge {
        head,
        written: 9,
        writable: 8,
    };
    assert_eq!(driver.pop_used(), Err(expected));
    assert_eq!(driver.pop_used(), Err(expected));
    assert_eq!(driver.add(&[rig.segment(0, 1)], &[]), Err(expected));
}

#[test]
fn used_id_has_to_be_below_the_queue_size() {
    let (rig, mut driver, _) = rig();
    hand_back(&rig, 5, 0, FIRST);
    let expected = RingError::UsedIdOutOfRange {
        slot: 0,
        id: 5,
        size: 5,
    };
    assert_eq!(driver.pop_used(), Err(expected));
}

#[test]
fn used_id_has_to_be_in_flight() {
    let (rig, mut driver, head) = rig();
    let other = (head + 1) % 5;
    hand_back(&rig, other, 0, FIRST);
    let expected = RingError::UsedIdNotInFlight {
        slot: 0,
        head: other,
    };
    assert_eq!(driver.pop_used(), Err(expected));
}

#[test]
fn device_may_not_use_a_ring_that_is_empty() {
    let rig = Rig::new(5, false, false).packed(true);
    let mut driver = rig.driver();
    hand_back(&rig, 0, 0, FIRST);
    let expected = RingError::UsedIdNotInFlight { slot: 0, head: 0 };
    assert_eq!(driver.pop_used(), Err(expected));
}

#[test]
fn what_the_device_overwrites_is_never_read_back() {
    let (rig, mut driver, head) = rig();
    rig.memory.write(BASE, &[0xFF; 80]).unwrap();
    hand_back(&rig, head, 3, FIRST | WRITE);
    rig.memory.write(BASE + 16, &[0; 64]).unwrap();
    assert_eq!(driver.pop_used(), Ok(Some((head, 3))));
    driver.add(&[rig.segment(0, 1)], &[]).unwrap().unwrap();
    assert_eq!(driver.in_flight(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn garbage_from_a_device_is_an_error_or_a_chain_in_flight(
        entries in prop::collection::vec(
            (
                prop_oneof![9 => 0_u16..18, 1 => any::<u16>()],
                prop_oneof![9 => 0_u32..80, 1 => any::<u32>()],
                prop_oneof![9 => Just(FIRST | WRITE), 1 => any::<u16>()],
            ),
            15,
        ),
        chains in 1_u16..5,
    ) {
        let rig = Rig::new(15, true, false).packed(true);
        let mut driver = rig.driver();
        let (readable, writable) = ([rig.segment(0, 9)], [rig.segment(9, 64); 2]);
        let mut in_flight: Vec<u16> = (0..chains)
            .map(|_| driver.add(&readable, &writable).unwrap().unwrap())
            .collect();
        for (index, (id, len, flags)) in (0..).zip(entries) {
            rig.set_packed(index, 0, len, id, flags);
        }
        while let Ok(Some((head, written))) = driver.pop_used() {
            let position = in_flight.iter().position(|other| *other == head);
            in_flight.swap_remove(position.expect("the chain is in flight"));
            prop_assert!(written <= 128);
        }
        prop_assert_eq!(usize::from(driver.in_flight()), in_flight.len());
    }
}
