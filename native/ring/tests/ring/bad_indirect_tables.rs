//! The device's error for each malformed indirect table (virtio 1.4, 2.7.5.3).

use virtmesh_ring::layout::{
    Descriptor, VIRTQ_DESC_F_INDIRECT, VIRTQ_DESC_F_NEXT, VIRTQ_DESC_F_WRITE,
};
use virtmesh_ring::{RingError, Segment};

use crate::bad_drivers::{pop_first, rig};
use crate::common::Rig;

const NEXT: u16 = VIRTQ_DESC_F_NEXT;
const WRITE: u16 = VIRTQ_DESC_F_WRITE;
const INDIRECT: u16 = VIRTQ_DESC_F_INDIRECT;

#[test]
fn looping_indirect_table_is_too_long() {
    let rig = rig();
    rig.set_desc(0, rig.data, 32, INDIRECT, 0);
    rig.set_desc_at(rig.data, rig.data, 1, NEXT, 1);
    rig.set_desc_at(rig.data + 16, rig.data, 1, NEXT, 0);
    assert_eq!(
        pop_first(&rig).unwrap_err(),
        RingError::ChainTooLong { head: 0, size: 4 }
    );
}

#[test]
fn direct_and_indirect_descriptors_together_are_at_most_the_size() {
    let rig = rig();
    rig.set_desc(0, rig.data, 1, NEXT, 1);
    rig.set_desc(1, rig.data, 64, INDIRECT, 0);
    for index in 0..4 {
        let flags = if index < 3 { NEXT } else { 0 };
        rig.set_desc_at(
            rig.data + 16 * u64::from(index),
            rig.data,
            1,
            flags,
            index + 1,
        );
    }
    assert_eq!(
        pop_first(&rig).unwrap_err(),
        RingError::ChainTooLong { head: 0, size: 4 }
    );
}

#[test]
fn descriptor_that_refers_to_a_table_does_not_count() {
    let rig = rig();
    rig.set_desc(0, rig.data, 64, INDIRECT, 0);
    for index in 0..4 {
        let flags = if index < 3 { NEXT } else { 0 };
        rig.set_desc_at(
            rig.data + 16 * u64::from(index),
            rig.data,
            1,
            flags,
            index + 1,
        );
    }
    assert_eq!(pop_first(&rig).unwrap().readable.len(), 4);
}

#[test]
fn table_may_be_larger_than_its_chain_and_the_queue() {
    let rig = rig();
    rig.set_desc(0, rig.data, 16 * 100, INDIRECT, 0);
    rig.set_desc_at(rig.data, rig.data, 1, NEXT, 99);
    rig.set_desc_at(rig.data + 16 * 99, rig.data, 2, 0, 0);
    assert_eq!(pop_first(&rig).unwrap().readable.len(), 2);
}

#[test]
fn readable_buffers_come_first_across_an_indirect_table() {
    let rig = rig();
    rig.set_desc(0, rig.data, 1, WRITE | NEXT, 1);
    rig.set_desc(1, rig.data, 16, INDIRECT, 0);
    rig.set_desc_at(rig.data, rig.data, 1, 0, 0);
    let expected = RingError::ReadableAfterWritable { head: 0, index: 0 };
    assert_eq!(pop_first(&rig).unwrap_err(), expected);
}

#[test]
fn indirect_has_to_be_negotiated() {
    let rig = Rig::new(4, false, false);
    rig.driver();
    rig.set_desc(0, rig.data, 16, INDIRECT, 0);
    let expected = RingError::IndirectNotNegotiated { head: 0, index: 0 };
    assert_eq!(pop_first(&rig).unwrap_err(), expected);
}

#[test]
fn indirect_descriptor_may_not_continue() {
    let rig = rig();
    rig.set_desc(0, rig.data, 16, INDIRECT | NEXT, 1);
    assert_eq!(
        pop_first(&rig).unwrap_err(),
        RingError::IndirectWithNext { head: 0, index: 0 }
    );
}

#[test]
fn indirect_tables_may_not_nest() {
    let rig = rig();
    rig.set_desc(0, rig.data, 16, INDIRECT, 0);
    rig.set_desc_at(rig.data, rig.data, 16, INDIRECT, 0);
    assert_eq!(
        pop_first(&rig).unwrap_err(),
        RingError::IndirectNested { head: 0, index: 0 }
    );
}

#[test]
fn indirect_table_has_an_entry() {
    let rig = rig();
    rig.set_desc(0, rig.data, 0, INDIRECT, 0);
    assert_eq!(
        pop_first(&rig).unwrap_err(),
        RingError::IndirectBadLength { head: 0, length: 0 }
    );
}

#[test]
fn indirect_table_has_whole_entries() {
    let rig = rig();
    rig.set_desc(0, rig.data, 24, INDIRECT, 0);
    assert_eq!(
        pop_first(&rig).unwrap_err(),
        RingError::IndirectBadLength {
            head: 0,
            length: 24
        }
    );
}

#[test]
fn indirect_table_is_inside_memory() {
    let rig = rig();
    let address = rig.end - 16;
    rig.set_desc(0, address, 32, INDIRECT, 0);
    let expected = RingError::IndirectOutsideMemory {
        head: 0,
        address,
        length: 32,
    };
    assert_eq!(pop_first(&rig).unwrap_err(), expected);
}

#[test]
fn next_in_an_indirect_table_stays_there() {
    let rig = rig();
    rig.set_desc(0, rig.data, 32, INDIRECT, 0);
    rig.set_desc_at(rig.data, rig.data, 1, NEXT, 2);
    let expected = RingError::NextOutOfRange {
        head: 0,
        index: 0,
        next: 2,
        entries: 2,
    };
    assert_eq!(pop_first(&rig).unwrap_err(), expected);
}

#[test]
fn write_flag_of_an_indirect_descriptor_is_ignored() {
    let rig = rig();
    rig.set_desc(0, rig.data, 16, INDIRECT | WRITE, 0);
    rig.set_desc_at(rig.data, rig.data, 7, 0, 0);
    let chain = pop_first(&rig).unwrap();
    assert_eq!(
        chain.readable.as_slice(),
        [Segment {
            addr: rig.data,
            len: 7
        }]
    );
    assert!(chain.writable.is_empty());
}

#[test]
fn indirect_table_need_not_be_aligned() {
    let rig = rig();
    let table = rig.data + 3;
    rig.set_desc(0, table, 16, INDIRECT, 0);
    let words = Descriptor {
        addr: rig.data,
        len: 7,
        flags: 0,
        next: 0,
    };
    let bytes: Vec<u8> = words
        .to_words()
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    rig.memory.write(table, &bytes).unwrap();
    let chain = pop_first(&rig).unwrap();
    assert_eq!(
        chain.readable.as_slice(),
        [Segment {
            addr: rig.data,
            len: 7
        }]
    );
}
