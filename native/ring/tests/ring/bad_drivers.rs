//! The device's error for each violation by a driver.

use proptest::prelude::*;
use virtmesh_ring::layout::{VIRTQ_DESC_F_INDIRECT, VIRTQ_DESC_F_NEXT, VIRTQ_DESC_F_WRITE};
use virtmesh_ring::{Chain, RingError, Segment};

use crate::common::{BASE, Rig};

const NEXT: u16 = VIRTQ_DESC_F_NEXT;
const WRITE: u16 = VIRTQ_DESC_F_WRITE;
const INDIRECT: u16 = VIRTQ_DESC_F_INDIRECT;

/// A queue of 4 whose driver side is written by hand.
pub fn rig() -> Rig {
    let rig = Rig::new(4, false, true);
    rig.driver();
    rig
}

/// Offer the chain at descriptor 0 and take it.
pub fn pop_first(rig: &Rig) -> Result<Chain, RingError> {
    rig.offer(&[0]);
    rig.device()
        .pop()
        .map(|chain| chain.expect("one was offered"))
}

#[test]
fn available_index_may_not_jump_by_more_than_the_size() {
    let rig = rig();
    rig.set_avail_idx(5);
    let error = rig.device().pop().unwrap_err();
    assert_eq!(
        error,
        RingError::AvailIndexJumped {
            from: 0,
            to: 5,
            size: 4
        }
    );
}

#[test]
fn available_index_may_not_go_back() {
    let rig = rig();
    rig.set_avail_idx(u16::MAX);
    let error = rig.device().pop().unwrap_err();
    assert_eq!(
        error,
        RingError::AvailIndexJumped {
            from: 0,
            to: u16::MAX,
            size: 4
        }
    );
}

#[test]
fn jumped_index_is_found_when_notifications_are_enabled_too() {
    let rig = rig();
    rig.set_avail_idx(5);
    let error = rig.device().enable_notifications().unwrap_err();
    assert_eq!(
        error,
        RingError::AvailIndexJumped {
            from: 0,
            to: 5,
            size: 4
        }
    );
}

#[test]
fn head_has_to_be_a_descriptor() {
    let rig = rig();
    rig.offer(&[4]);
    let error = rig.device().pop().unwrap_err();
    assert_eq!(
        error,
        RingError::HeadOutOfRange {
            slot: 0,
            head: 4,
            size: 4
        }
    );
}

#[test]
fn chain_may_not_be_offered_while_the_device_holds_it() {
    let rig = rig();
    rig.set_desc(0, rig.data, 1, 0, 0);
    rig.offer(&[0, 0]);
    let mut device = rig.device();
    device.pop().unwrap().unwrap();
    assert_eq!(
        device.pop().unwrap_err(),
        RingError::HeadInFlight { head: 0 }
    );
}

#[test]
fn chain_may_be_offered_again_once_it_was_pushed() {
    let rig = rig();
    rig.set_desc(0, rig.data, 1, 0, 0);
    rig.offer(&[0, 0]);
    let mut device = rig.device();
    device.pop().unwrap().unwrap();
    device.push(0, 0).unwrap();
    assert_eq!(device.pop().unwrap().unwrap().head, 0);
}

#[test]
fn next_has_to_be_a_descriptor() {
    let rig = rig();
    rig.set_desc(0, rig.data, 1, NEXT, 4);
    let expected = RingError::NextOutOfRange {
        head: 0,
        index: 0,
        next: 4,
        entries: 4,
    };
    assert_eq!(pop_first(&rig).unwrap_err(), expected);
}

#[test]
fn looping_chain_is_too_long() {
    let rig = rig();
    rig.set_desc(0, rig.data, 1, NEXT, 1);
    rig.set_desc(1, rig.data, 1, NEXT, 0);
    assert_eq!(
        pop_first(&rig).unwrap_err(),
        RingError::ChainTooLong { head: 0, size: 4 }
    );
}

#[test]
fn looping_chain_without_bytes_is_too_long() {
    let rig = rig();
    rig.set_desc(0, rig.data, 0, NEXT, 0);
    assert_eq!(
        pop_first(&rig).unwrap_err(),
        RingError::ChainTooLong { head: 0, size: 4 }
    );
}

#[test]
fn chain_has_at_most_4_gib() {
    const SIZE: u64 = (1 << 32) - 4096;
    let memory = crate::common::ram(SIZE);
    let rig = Rig::at(memory, SIZE, 4, false, false);
    rig.driver();
    let len = u32::try_from(SIZE).unwrap();
    rig.set_desc(0, BASE, len, NEXT, 1);
    rig.set_desc(1, BASE, 4096, NEXT, 2);
    rig.set_desc(2, BASE, 1, 0, 0);
    assert_eq!(
        pop_first(&rig).unwrap_err(),
        RingError::ChainTooLarge { head: 0 }
    );
}

#[test]
fn readable_buffers_come_first() {
    let rig = rig();
    rig.set_desc(0, rig.data, 1, WRITE | NEXT, 1);
    rig.set_desc(1, rig.data, 1, 0, 0);
    let expected = RingError::ReadableAfterWritable { head: 0, index: 1 };
    assert_eq!(pop_first(&rig).unwrap_err(), expected);
}

proptest! {
    #[test]
    fn buffer_has_to_be_inside_memory(past in 1_u32..=u32::MAX - 16, back in 0_u64..16) {
        let rig = rig();
        let (address, length) = (rig.end - back, 16 + past);
        rig.set_desc(0, address, length, WRITE, 0);
        let expected = RingError::BufferOutsideMemory { head: 0, address, length };
        prop_assert_eq!(pop_first(&rig).unwrap_err(), expected);
    }
}

#[test]
fn buffer_may_not_wrap_around_the_address_space() {
    let rig = rig();
    let (address, length) = (u64::MAX - 3, 8);
    rig.set_desc(0, address, length, 0, 0);
    let expected = RingError::BufferOutsideMemory {
        head: 0,
        address,
        length,
    };
    assert_eq!(pop_first(&rig).unwrap_err(), expected);
}

#[test]
fn buffer_without_bytes_is_left_out() {
    let rig = rig();
    rig.set_desc(0, u64::MAX, 0, NEXT, 1);
    rig.set_desc(1, rig.data, 1, WRITE, 0);
    let chain = pop_first(&rig).unwrap();
    assert!(chain.readable.is_empty());
    assert_eq!(
        chain.writable.as_slice(),
        [Segment {
            addr: rig.data,
            len: 1
        }]
    );
}

#[test]
fn broken_queue_stays_broken() {
    let rig = rig();
    let mut device = rig.device();
    rig.set_avail_idx(5);
    let error = device.pop().unwrap_err();
    rig.set_desc(0, rig.data, 1, 0, 0);
    rig.offer(&[0]);
    assert_eq!(device.pop().unwrap_err(), error);
    assert_eq!(device.enable_notifications().unwrap_err(), error);
}

#[test]
fn chains_before_a_bad_one_are_kept() {
    let rig = rig();
    rig.set_desc(0, rig.data, 1, 0, 0);
    rig.offer(&[0, 9]);
    let (mut device, mut chains) = (rig.device(), Vec::new());
    let error = device.pop_batch(4, &mut chains).unwrap_err();
    assert_eq!(
        error,
        RingError::HeadOutOfRange {
            slot: 1,
            head: 9,
            size: 4
        }
    );
    assert_eq!(chains[0].head, 0);
    device.push(0, 0).unwrap();
}

#[test]
fn chain_that_is_not_held_is_not_pushed() {
    let rig = rig();
    let mut device = rig.device();
    assert_eq!(
        device.push(2, 0).unwrap_err(),
        RingError::NotInFlight { head: 2 }
    );
    assert_eq!(
        device.push(2, 0).unwrap_err(),
        RingError::NotInFlight { head: 2 }
    );
}

#[test]
fn batch_with_a_chain_twice_is_not_published() {
    let rig = rig();
    let mut driver = rig.driver();
    driver.add(&[rig.segment(0, 1)], &[]).unwrap();
    let mut device = rig.device();
    let head = device.pop().unwrap().unwrap().head;
    let error = device.push_batch(&[(head, 0), (head, 0)]).unwrap_err();
    assert_eq!(error, RingError::NotInFlight { head });
    assert!(!driver.can_pop());
}

#[test]
fn unknown_descriptor_flags_are_ignored() {
    let rig = rig();
    rig.set_desc(0, rig.data, 1, !(NEXT | WRITE | INDIRECT), 0);
    assert_eq!(pop_first(&rig).unwrap().readable.len(), 1);
}
