//! Loads and stores of RAM: widths, signs, misalignment.

use proptest::prelude::*;

use crate::asm::{load, store};
use crate::csrs::{MCAUSE, MTVAL};
use crate::machine::{BASE, CODE, Machine, SIZE};

const DATA: u64 = BASE + 0x8000;

#[test]
fn loads_extend_as_their_opcode_says() {
    const VALUE: u64 = 0x8182_8384_8586_8788;
    let cases = [
        (0, 0xffff_ffff_ffff_ff88),
        (1, 0xffff_ffff_ffff_8788),
        (2, 0xffff_ffff_8586_8788),
        (3, VALUE),
        (4, 0x88),
        (5, 0x8788),
        (6, 0x8586_8788),
    ];
    for (funct3, expected) in cases {
        let mut m = Machine::with_code(&[load(funct3, 6, 5, -16), load(funct3, 7, 5, -16)]);
        m.write64(DATA, VALUE);
        m.hart.set_x(5, DATA + 16);

        m.step(2);

        assert_eq!(
            (m.hart.x(6), m.hart.x(7)),
            (expected, expected),
            "funct3 {funct3}"
        );
    }
}

#[test]
fn loads_to_x0_are_executed_and_leave_it_zero() {
    let mut m = Machine::with_code(&[load(3, 0, 5, 0), load(3, 6, 0, 0)]);
    m.write64(DATA, 7);
    m.hart.set_x(5, DATA);

    m.step(1);

    assert_eq!(m.hart.x(0), 0);
}

#[test]
fn misaligned_access_that_leaves_ram_is_an_access_fault() {
    let end = BASE + SIZE;
    for (instruction, cause) in [(load(3, 6, 5, 0), 5), (store(3, 5, 6, 0), 7)] {
        let mut m = Machine::with_code(&[instruction]);
        m.hart.set_x(5, end - 3);
        m.step(1);
        assert_eq!((m.csr(MCAUSE), m.csr(MTVAL)), (cause, end));
        assert_eq!(m.read64(end - 8), 0, "nothing is stored");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    /// Any sequence of stores and loads, aligned or not, is as on an array of bytes.
    #[test]
    fn memory_is_an_array_of_bytes(
        accesses in prop::collection::vec((any::<bool>(), 0u32..4, 0usize..0x2000, any::<u64>()), 1..60)
    ) {
        let mut m = Machine::new();
        for log in 0..4 {
            m.write32(CODE + u64::from(log) * 8, &[load(log, 6, 5, 0), store(log, 5, 6, 0)]);
        }
        let mut bytes = vec![0u8; 0x2010];
        for (is_store, log, offset, value) in accesses {
            let width = 1usize << log;
            let range = offset..offset + width;
            m.hart.set_x(5, DATA + offset as u64);
            m.hart.set_x(6, value);
            // One instruction of each kind and width: the TLBs live as long as the sequence.
            let at = CODE + u64::from(log) * 8 + u64::from(is_store) * 4;
            m.hart.set_pc(at);
            m.step(1);
            if is_store {
                bytes[range].copy_from_slice(&value.to_le_bytes()[..width]);
            } else {
                let mut expected = [0; 8];
                expected[..width].copy_from_slice(&bytes[range]);
                let shift = 64 - (8u32 << log);
                let expected = (i64::from_le_bytes(expected) << shift >> shift).cast_unsigned();
                prop_assert_eq!(m.hart.x(6), expected);
            }
        }
    }
}
