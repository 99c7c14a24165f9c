//! The A extension.

use crate::asm::{addi, amo};
use crate::csrs::{MCAUSE, MTVAL};
use crate::machine::{BASE, Machine};

const DATA: u64 = BASE + 0x8000;
const OLD: u64 = 0xffff_fffe_8000_0005;
const SOURCE: u64 = 0x1234_5678_7fff_0003;

/// funct5, and the operation on doubles.
type Amo = (u32, fn(u64, u64) -> u64);
const AMOS: [Amo; 9] = [
    (0x00, u64::wrapping_add),
    (0x01, |_, source| source),
    (0x04, |old, source| old ^ source),
    (0x08, |old, source| old | source),
    (0x0c, |old, source| old & source),
    (0x10, |old, source| {
        old.cast_signed().min(source.cast_signed()).cast_unsigned()
    }),
    (0x14, |old, source| {
        old.cast_signed().max(source.cast_signed()).cast_unsigned()
    }),
    (0x18, u64::min),
    (0x1c, u64::max),
];

fn about_to(code: &[u32]) -> Machine {
    let mut m = Machine::with_code(code);
    m.write64(DATA, OLD);
    m.hart.set_x(5, DATA);
    m.hart.set_x(6, SOURCE);
    m
}

#[test]
fn doubles_are_modified_and_their_old_value_is_given() {
    for (funct5, operation) in AMOS {
        let mut m = about_to(&[amo(funct5, 3, 7, 5, 6)]);

        m.step(1);

        assert_eq!(m.hart.x(7), OLD);
        assert_eq!(m.read64(DATA), operation(OLD, SOURCE), "funct5 {funct5:#x}");
    }
}

#[test]
fn words_leave_the_other_half_alone_and_are_sign_extended() {
    let extend = |word: u64| ((word << 32).cast_signed() >> 32).cast_unsigned();
    for (funct5, operation) in AMOS {
        let mut m = about_to(&[amo(funct5, 2, 7, 5, 6)]);
        let expected = operation(extend(OLD), extend(SOURCE)) & 0xffff_ffff;

        m.step(1);

        assert_eq!(m.hart.x(7), extend(OLD));
        assert_eq!(
            m.read64(DATA),
            OLD & !0xffff_ffff | expected,
            "funct5 {funct5:#x}"
        );
    }
}

#[test]
fn sc_stores_once_after_lr() {
    let mut m = about_to(&[
        amo(0x02, 3, 7, 5, 0),
        amo(0x03, 3, 8, 5, 6),
        amo(0x03, 3, 9, 5, 7),
    ]);

    m.step(3);

    assert_eq!(m.hart.x(7), OLD);
    assert_eq!(
        (m.hart.x(8), m.hart.x(9)),
        (0, 1),
        "the second SC has no reservation"
    );
    assert_eq!(m.read64(DATA), SOURCE);
}

#[test]
fn sc_fails_elsewhere_with_another_width_and_after_a_change() {
    let lr = amo(0x02, 3, 7, 5, 0);
    let sc = amo(0x03, 3, 8, 5, 6);
    for code in [
        [lr, addi(5, 5, 8), sc],
        [lr, addi(5, 5, 0), amo(0x03, 2, 8, 5, 6)],
        [lr, crate::asm::store(0, 5, 0, 7), sc],
        [addi(0, 0, 0), addi(0, 0, 0), sc],
    ] {
        let mut m = about_to(&code);
        m.step(3);
        assert_eq!(m.hart.x(8), 1);
        assert_ne!(m.read64(DATA), SOURCE);
    }
}

#[test]
fn sc_fails_after_another_process_has_written() {
    let mut m = about_to(&[amo(0x02, 3, 7, 5, 0), amo(0x03, 3, 8, 5, 6)]);
    m.step(1);

    m.write64(DATA, 1);
    m.step(1);

    assert_eq!((m.hart.x(8), m.read64(DATA)), (1, 1));
}

#[test]
fn misaligned_atomics_are_exceptions() {
    for (instruction, cause) in [
        (amo(0x02, 2, 7, 5, 0), 4),
        (amo(0x03, 2, 7, 5, 6), 6),
        (amo(0x00, 3, 7, 5, 6), 6),
    ] {
        let mut m = about_to(&[instruction]);
        m.hart.set_x(5, DATA + 2);
        m.step(1);
        assert_eq!((m.csr(MCAUSE), m.csr(MTVAL)), (cause, DATA + 2));
    }
}

#[test]
fn atomics_on_devices_are_access_faults() {
    for (instruction, cause) in [(amo(0x02, 2, 7, 5, 0), 5), (amo(0x00, 2, 7, 5, 6), 7)] {
        let mut m = about_to(&[instruction]);
        m.hart.set_x(5, 0x1000_0000);
        m.step(1);
        assert_eq!((m.csr(MCAUSE), m.csr(MTVAL)), (cause, 0x1000_0000));
    }
}
