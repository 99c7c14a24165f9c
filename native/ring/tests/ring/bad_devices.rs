//! The driver's error for each violation by a device, and for misuse of the driver side.

use virtmesh_ring::{DriverQueue, RingError, Segment};

use crate::common::Rig;

/// A queue of 4 with one chain in flight: 16 bytes to read, 8 to write.
fn rig() -> (Rig, DriverQueue, u16) {
    let rig = Rig::new(4, false, true);
    let mut driver = rig.driver();
    let head = driver
        .add(&[rig.segment(0, 16)], &[rig.segment(16, 8)])
        .unwrap()
        .unwrap();
    (rig, driver, head)
}

#[test]
fn used_index_may_not_pass_what_is_in_flight() {
    let (rig, mut driver, _) = rig();
    rig.set_used_idx(2);
    let expected = RingError::UsedIndexJumped {
        from: 0,
        to: 2,
        in_flight: 1,
    };
    assert_eq!(driver.pop_used().unwrap_err(), expected);
}

#[test]
fn used_index_may_not_go_back() {
    let (rig, mut driver, _) = rig();
    rig.set_used_idx(u16::MAX);
    let expected = RingError::UsedIndexJumped {
        from: 0,
        to: u16::MAX,
        in_flight: 1,
    };
    assert_eq!(driver.pop_used().unwrap_err(), expected);
}

#[test]
fn used_id_has_to_be_a_descriptor() {
    let (rig, mut driver, _) = rig();
    rig.hand_back(&[(0x1_0000, 0)]);
    let expected = RingError::UsedIdOutOfRange {
        slot: 0,
        id: 0x1_0000,
        size: 4,
    };
    assert_eq!(driver.pop_used().unwrap_err(), expected);
}

#[test]
fn used_id_has_to_be_in_flight() {
    let (rig, mut driver, head) = rig();
    let other = head + 1;
    rig.hand_back(&[(other.into(), 0)]);
    let expected = RingError::UsedIdNotInFlight {
        slot: 0,
        head: other,
    };
    assert_eq!(driver.pop_used().unwrap_err(), expected);
}

#[test]
fn chain_may_not_be_used_twice() {
    let (rig, mut driver, head) = rig();
    driver.add(&[rig.segment(0, 1)], &[]).unwrap();
    rig.hand_back(&[(head.into(), 0), (head.into(), 0)]);
    assert_eq!(driver.pop_used().unwrap(), Some((head, 0)));
    assert_eq!(
        driver.pop_used().unwrap_err(),
        RingError::UsedIdNotInFlight { slot: 1, head }
    );
}

#[test]
fn used_length_is_at_most_what_is_writable() {
    let (rig, mut driver, head) = rig();
    rig.hand_back(&[(head.into(), 9)]);
    let expected = RingError::UsedLengthTooLarge {
        head,
        written: 9,
        writable: 8,
    };
    assert_eq!(driver.pop_used().unwrap_err(), expected);
}

#[test]
fn broken_queue_stays_broken() {
    let (rig, mut driver, head) = rig();
    rig.set_used_idx(2);
    let error = driver.pop_used().unwrap_err();
    rig.hand_back(&[(head.into(), 0)]);
    assert_eq!(driver.pop_used().unwrap_err(), error);
    assert_eq!(driver.add(&[rig.segment(0, 1)], &[]).unwrap_err(), error);
}

#[test]
fn entries_before_a_bad_one_are_kept() {
    let (rig, mut driver, head) = rig();
    driver.add(&[rig.segment(0, 1)], &[]).unwrap();
    rig.hand_back(&[(head.into(), 8), (99, 0)]);
    let mut used = Vec::new();
    let expected = RingError::UsedIdOutOfRange {
        slot: 1,
        id: 99,
        size: 4,
    };
    assert_eq!(driver.pop_used_batch(4, &mut used).unwrap_err(), expected);
    assert_eq!(used, [(head, 8)]);
}

#[test]
fn scribbled_descriptors_change_nothing_for_the_driver() {
    let (rig, mut driver, head) = rig();
    for index in 0..4 {
        rig.set_desc(index, u64::MAX, u32::MAX, u16::MAX, u16::MAX);
    }
    rig.hand_back(&[(head.into(), 8)]);
    assert_eq!(driver.pop_used().unwrap(), Some((head, 8)));
    assert_eq!((driver.free(), driver.in_flight()), (4, 0));
}

#[test]
fn chain_needs_a_buffer() {
    let (_, mut driver, _) = rig();
    assert_eq!(driver.add(&[], &[]).unwrap_err(), RingError::EmptyChain);
}

#[test]
fn buffer_needs_bytes() {
    let (rig, mut driver, _) = rig();
    let empty = rig.segment(0, 0);
    let expected = RingError::EmptySegment {
        address: empty.addr,
    };
    assert_eq!(driver.add(&[empty], &[]).unwrap_err(), expected);
}

#[test]
fn buffer_has_to_be_inside_memory() {
    let (rig, mut driver, _) = rig();
    let outside = Segment {
        addr: rig.end - 1,
        len: 2,
    };
    let error = driver.add(&[], &[outside]).unwrap_err();
    assert!(
        matches!(error, RingError::BufferOutsideMemory { length: 2, .. }),
        "{error}"
    );
}

#[test]
fn chain_is_at_most_the_queue_size() {
    let (rig, mut driver, _) = rig();
    let error = driver.add(&[rig.segment(0, 1); 5], &[]).unwrap_err();
    assert!(
        matches!(error, RingError::ChainTooLong { size: 4, .. }),
        "{error}"
    );
}

#[test]
fn chain_of_more_than_65535_buffers_is_too_long() {
    let (rig, mut driver, _) = rig();
    let error = driver
        .add(&vec![rig.segment(0, 1); 0x1_0001], &[])
        .unwrap_err();
    assert!(
        matches!(error, RingError::ChainTooLong { size: 4, .. }),
        "{error}"
    );
}

#[test]
fn chain_has_at_most_4_gib() {
    const SIZE: u64 = (1 << 32) - 4096;
    let rig = Rig::at(crate::common::ram(SIZE), SIZE, 4, false, false);
    let mut driver = rig.driver();
    let all = Segment {
        addr: crate::common::BASE,
        len: u32::try_from(SIZE).unwrap(),
    };
    let error = driver
        .add(&[all], &[Segment { len: 4097, ..all }])
        .unwrap_err();
    assert!(matches!(error, RingError::ChainTooLarge { .. }), "{error}");
    assert!(
        driver
            .add(&[all], &[Segment { len: 4096, ..all }])
            .unwrap()
            .is_some()
    );
}

#[test]
fn refused_chain_leaves_the_queue_as_it_was() {
    let (rig, mut driver, head) = rig();
    let free = driver.free();
    driver.add(&[], &[]).unwrap_err();
    assert_eq!((driver.free(), driver.in_flight()), (free, 1));
    rig.hand_back(&[(head.into(), 8)]);
    assert_eq!(driver.pop_used().unwrap(), Some((head, 8)));
}

#[test]
fn batch_ends_before_a_bad_chain() {
    let rig = Rig::new(4, false, false);
    let (mut driver, mut heads) = (rig.driver(), Vec::new());
    let good = [rig.segment(0, 1)];
    let chains: [(&[Segment], &[Segment]); 3] = [(&good, &[]), (&[], &[]), (&good, &[])];
    assert_eq!(
        driver.add_batch(chains, &mut heads).unwrap_err(),
        RingError::EmptyChain
    );
    assert_eq!(rig.device().pop().unwrap().unwrap().head, heads[0]);
    assert_eq!(driver.in_flight(), 1);
}

#[test]
fn batch_ends_where_there_is_no_room() {
    let rig = Rig::new(4, false, false);
    let (mut driver, mut heads) = (rig.driver(), Vec::new());
    let pair = [rig.segment(0, 1), rig.segment(1, 1)];
    let chains: [(&[Segment], &[Segment]); 3] = [(&pair, &[]); 3];
    assert_eq!(driver.add_batch(chains, &mut heads).unwrap(), 2);
    assert_eq!(driver.add(&pair, &[]).unwrap(), None);
    let (mut device, mut taken) = (rig.device(), Vec::new());
    assert_eq!(device.pop_batch(8, &mut taken).unwrap(), 2);
}
