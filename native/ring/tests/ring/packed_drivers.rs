//! The device's error for each violation by a driver in a packed ring.

use std::sync::atomic::Ordering;

use virtmesh_ring::layout::packed::{
    RING_EVENT_FLAGS_DESC, RING_EVENT_FLAGS_DISABLE, VIRTQ_DESC_F_AVAIL, VIRTQ_DESC_F_USED,
};
use virtmesh_ring::layout::{VIRTQ_DESC_F_INDIRECT, VIRTQ_DESC_F_NEXT, VIRTQ_DESC_F_WRITE};
use virtmesh_ring::{Chain, RingError, Segment};

use crate::common::Rig;

const NEXT: u16 = VIRTQ_DESC_F_NEXT;
const WRITE: u16 = VIRTQ_DESC_F_WRITE;
const INDIRECT: u16 = VIRTQ_DESC_F_INDIRECT;
/// Available in the first lap.
const FIRST: u16 = VIRTQ_DESC_F_AVAIL;
/// Available in the second lap.
const SECOND: u16 = VIRTQ_DESC_F_USED;

/// A ring of 5 whose driver side is written by hand.
fn rig() -> Rig {
    let rig = Rig::new(5, false, true).packed(true);
    rig.driver();
    rig
}

/// Write descriptors (bytes, ID, flags) from entry 0 on, their buffers one after the other.
fn write(rig: &Rig, descriptors: &[(u32, u16, u16)]) {
    for (index, &(len, id, flags)) in (0..).zip(descriptors) {
        rig.set_packed(index, rig.data + 64 * u64::from(index), len, id, flags);
    }
}

fn pop(rig: &Rig) -> Result<Option<Chain>, RingError> {
    rig.device().pop()
}

#[test]
fn ring_that_is_cleared_has_nothing_available() {
    assert_eq!(pop(&rig()), Ok(None));
}

#[test]
fn descriptor_of_another_lap_is_not_available() {
    for flags in [0, SECOND, FIRST | SECOND] {
        let rig = rig();
        write(&rig, &[(8, 0, flags)]);
        assert_eq!(pop(&rig), Ok(None));
    }
}

#[test]
fn chain_has_the_id_of_its_last_descriptor() {
    let rig = rig();
    let chain = [
        (8, 999, FIRST | NEXT),
        (8, 999, FIRST | NEXT | WRITE),
        (9, 3, FIRST | WRITE),
    ];
    write(&rig, &chain);
    let chain = pop(&rig).unwrap().unwrap();
    let [first, second, third] = [(0, 8), (64, 8), (128, 9)].map(|(at, len)| rig.segment(at, len));
    assert_eq!(chain.head, 3);
    assert_eq!(chain.readable.as_slice(), [first]);
    assert_eq!(chain.writable.as_slice(), [second, third]);
}

#[test]
fn chain_may_wrap_around() {
    let rig = rig();
    let mut device = rig.device();
    for id in 0..4 {
        rig.set_packed(id, rig.data, 1, id, FIRST);
        device.pop().unwrap().unwrap();
        device.push(id, 0).unwrap();
    }
    rig.set_packed(0, rig.data, 7, 2, SECOND);
    rig.set_packed(4, rig.data, 6, 0, FIRST | NEXT);
    let chain = device.pop().unwrap().unwrap();
    let expected = [rig.segment(0, 6), rig.segment(0, 7)];
    assert_eq!((chain.head, chain.readable.as_slice()), (2, &expected[..]));
}

#[test]
fn used_descriptor_tells_whether_and_what_was_written() {
    let rig = rig();
    write(&rig, &[(8, 4, FIRST | WRITE), (8, 2, FIRST | WRITE)]);
    let mut device = rig.device();
    assert_eq!(device.pop_batch(9, &mut Vec::new()), Ok(2));
    device.push_batch(&[(2, 0), (4, 7)]).unwrap();
    let [first, second] = [0, 1].map(|index| rig.packed_word(index));
    assert_eq!((first.id, first.len, first.flags), (2, 0, FIRST | SECOND));
    assert_eq!(
        (second.id, second.len, second.flags),
        (4, 7, FIRST | SECOND | WRITE)
    );
}

#[test]
fn chain_may_not_continue_at_a_descriptor_that_is_not_available() {
    for flags in [0, SECOND, FIRST | SECOND] {
        let rig = rig();
        write(&rig, &[(8, 0, FIRST | NEXT), (8, 0, flags)]);
        let expected = RingError::ChainNotAvailable { head: 0, index: 1 };
        assert_eq!(pop(&rig), Err(expected));
    }
}

#[test]
fn chain_may_not_be_longer_than_the_ring() {
    let rig = rig();
    write(&rig, &[(8, 0, FIRST | NEXT); 5]);
    let mut device = rig.device();
    let expected = RingError::ChainNotAvailable { head: 0, index: 0 };
    assert_eq!(device.pop(), Err(expected));
}

#[test]
fn chain_of_empty_buffers_ends_too() {
    let rig = rig();
    write(&rig, &[(0, 0, FIRST | NEXT); 5]);
    let expected = RingError::ChainNotAvailable { head: 0, index: 0 };
    assert_eq!(pop(&rig), Err(expected));
}

#[test]
fn id_has_to_be_below_the_queue_size() {
    for id in [5, u16::MAX] {
        let rig = rig();
        write(&rig, &[(8, 0, FIRST | NEXT), (8, id, FIRST)]);
        let expected = RingError::BufferIdOutOfRange {
            index: 1,
            id,
            size: 5,
        };
        assert_eq!(pop(&rig), Err(expected));
    }
}

#[test]
fn id_of_a_chain_in_flight_may_not_be_used_again() {
    let rig = rig();
    write(&rig, &[(8, 3, FIRST), (8, 3, FIRST)]);
    let mut device = rig.device();
    device.pop().unwrap().unwrap();
    let expected = RingError::BufferIdInFlight { index: 1, id: 3 };
    assert_eq!(device.pop(), Err(expected));
    assert_eq!(device.pop(), Err(expected));
}

#[test]
fn id_of_a_used_chain_may_be_used_again() {
    let rig = rig();
    write(&rig, &[(8, 3, FIRST), (8, 3, FIRST)]);
    let mut device = rig.device();
    device.pop().unwrap().unwrap();
    device.push(3, 0).unwrap();
    assert_eq!(device.pop().unwrap().unwrap().head, 3);
}

#[test]
fn descriptor_may_not_be_made_available_again_before_it_is_used() {
    let rig = rig();
    let chain = [
        (8, 0, FIRST | NEXT),
        (8, 0, FIRST | NEXT),
        (8, 0, FIRST | NEXT),
        (8, 0, FIRST),
        (8, 1, FIRST),
    ];
    write(&rig, &chain);
    let mut device = rig.device();
    assert_eq!(device.pop_batch(2, &mut Vec::new()), Ok(2));
    write(&rig, &[(8, 2, SECOND)]);
    let expected = RingError::RingOverrun { index: 0, size: 5 };
    assert_eq!(device.pop(), Err(expected));
}

#[test]
fn readable_buffer_may_not_follow_a_writable_one() {
    let rig = rig();
    write(&rig, &[(8, 0, FIRST | NEXT | WRITE), (8, 0, FIRST)]);
    let expected = RingError::ReadableAfterWritable { head: 0, index: 1 };
    assert_eq!(pop(&rig), Err(expected));
}

#[test]
fn buffer_has_to_be_inside_memory() {
    let rig = rig();
    rig.set_packed(0, rig.end - 4, 5, 0, FIRST);
    let expected = RingError::BufferOutsideMemory {
        head: 0,
        address: rig.end - 4,
        length: 5,
    };
    assert_eq!(pop(&rig), Err(expected));
}

/// A table of three entries, behind an indirect descriptor with these flags.
fn table(flags: u16, entries: [(u32, u16); 3]) -> Rig {
    let rig = rig();
    for (index, (len, flags)) in (0..).zip(entries) {
        let entry = rig.indirect_area + 16 * index;
        rig.set_packed_at(entry, rig.data + 64 * index, len, 999, flags);
    }
    rig.set_packed(0, rig.indirect_area, 48, 1, FIRST | INDIRECT | flags);
    rig
}

#[test]
fn table_is_read_to_its_end() {
    let rig = table(0, [(1, 0), (2, WRITE), (3, WRITE)]);
    let chain = pop(&rig).unwrap().unwrap();
    let segments = [(0, 1), (64, 2), (128, 3)].map(|(at, len)| rig.segment(at, len));
    assert_eq!(chain.head, 1);
    assert_eq!(chain.readable.as_slice(), &segments[..1]);
    assert_eq!(chain.writable.as_slice(), &segments[1..]);
}

/// 2.8.7: of the flags in a table, all but `VIRTQ_DESC_F_WRITE` are ignored, and the reference's
/// `VIRTQ_DESC_F_WRITE` is.
#[test]
fn flags_without_meaning_are_ignored() {
    let rest = !WRITE;
    let rig = table(WRITE, [(1, rest), (2, u16::MAX), (3, WRITE)]);
    let chain = pop(&rig).unwrap().unwrap();
    assert_eq!((chain.readable.len(), chain.writable.len()), (1, 2));
}

#[test]
fn indirect_descriptor_may_not_continue() {
    let rig = table(NEXT, [(1, 0); 3]);
    let expected = RingError::IndirectWithNext { head: 0, index: 0 };
    assert_eq!(pop(&rig), Err(expected));
}

#[test]
fn indirect_descriptor_may_not_follow_direct_ones() {
    let rig = rig();
    write(&rig, &[(8, 0, FIRST | NEXT), (48, 0, FIRST | INDIRECT)]);
    let expected = RingError::IndirectInChain { head: 0, index: 1 };
    assert_eq!(pop(&rig), Err(expected));
}

#[test]
fn indirect_descriptor_needs_the_feature() {
    let mut rig = table(0, [(1, 0); 3]);
    rig.config.indirect = false;
    let expected = RingError::IndirectNotNegotiated { head: 0, index: 0 };
    assert_eq!(pop(&rig), Err(expected));
}

#[test]
fn table_has_to_be_whole_descriptors() {
    for length in [0, 15, 17, u32::MAX] {
        let rig = rig();
        rig.set_packed(0, rig.indirect_area, length, 0, FIRST | INDIRECT);
        let expected = RingError::IndirectBadLength { head: 0, length };
        assert_eq!(pop(&rig), Err(expected));
    }
}

#[test]
fn table_has_to_be_inside_memory() {
    for (address, length) in [(u64::MAX - 15, 16), (0x8000_0000, 0xFFFF_FFF0)] {
        let rig = rig();
        rig.set_packed(0, address, length, 0, FIRST | INDIRECT);
        let expected = RingError::IndirectOutsideMemory {
            head: 0,
            address,
            length,
        };
        assert_eq!(pop(&rig), Err(expected));
    }
}

#[test]
fn table_may_not_be_longer_than_the_ring() {
    let rig = rig();
    for index in 0..6 {
        rig.set_packed_at(rig.indirect_area + 16 * index, rig.data, 1, 0, 0);
    }
    rig.set_packed(0, rig.indirect_area, 96, 0, FIRST | INDIRECT);
    let expected = RingError::ChainTooLong { head: 0, size: 5 };
    assert_eq!(pop(&rig), Err(expected));
}

#[test]
fn only_what_is_held_may_be_given_back() {
    for id in [0, 5, u16::MAX] {
        let expected = RingError::NotInFlight { head: id };
        assert_eq!(rig().device().push(id, 0), Err(expected));
    }
}

/// Have the driver write these event suppression words; say whether the device interrupts for its first
/// used chain.
fn interrupts(event_idx: bool, desc: u16, flags: u16) -> bool {
    let rig = Rig::new(5, event_idx, false).packed(true);
    let mut driver = rig.driver();
    let area = rig.config.driver_area;
    rig.memory.store_u16(area, desc, Ordering::Relaxed).unwrap();
    rig.memory
        .store_u16(area + 2, flags, Ordering::Relaxed)
        .unwrap();
    let segments: Vec<Segment> = (0..2).map(|at| rig.segment(at, 1)).collect();
    driver.add(&segments, &[]).unwrap().unwrap();
    let mut device = rig.device();
    let head = device.pop().unwrap().unwrap().head;
    device.push(head, 0).unwrap();
    device.needs_interrupt()
}

#[test]
fn event_of_any_descriptor_of_a_used_chain_interrupts() {
    let lap = 1 << 15;
    assert!(interrupts(true, lap, RING_EVENT_FLAGS_DESC));
    assert!(interrupts(true, lap | 1, RING_EVENT_FLAGS_DESC));
    assert!(!interrupts(true, lap | 2, RING_EVENT_FLAGS_DESC));
    assert!(!interrupts(true, 0, RING_EVENT_FLAGS_DESC));
    assert!(!interrupts(true, 4, RING_EVENT_FLAGS_DESC));
}

#[test]
fn event_suppression_without_meaning_suppresses_nothing() {
    for (event_idx, desc, flags) in [
        (true, 5, RING_EVENT_FLAGS_DESC),
        (true, u16::MAX, RING_EVENT_FLAGS_DESC),
        (false, 4, RING_EVENT_FLAGS_DESC),
        (true, 4, 3),
    ] {
        assert!(interrupts(event_idx, desc, flags));
    }
}

#[test]
fn reserved_bits_of_the_event_flags_are_ignored() {
    assert!(!interrupts(true, 0, RING_EVENT_FLAGS_DISABLE | 0xFFF0));
    assert!(!interrupts(false, 0, RING_EVENT_FLAGS_DISABLE | 0xFFF0));
}
