//! F and D as instructions: registers, NaN boxes, rounding modes, flags, FS. The arithmetic has its own tests.

use crate::asm::{i_type, r_type, s_type};
use crate::csrs::{FCSR, FFLAGS, FRM, MCAUSE, MSTATUS, MTVAL};
use crate::machine::{BASE, Machine};

const FS_INITIAL: u64 = 1 << 13;
const FS_CLEAN: u64 = 2 << 13;
const FS: u64 = 3 << 13;
const BOX: u64 = 0xffff_ffff_0000_0000;
const ONE_S: u64 = BOX | 0x3f80_0000;
const TWO_S: u64 = BOX | 0x4000_0000;
const THREE_S: u64 = BOX | 0x4040_0000;
const THIRD_S: u64 = BOX | 0x3eaa_aaab;
const THIRD_S_DOWN: u64 = BOX | 0x3eaa_aaaa;
const NAN_S: u64 = BOX | 0x7fc0_0000;
const DATA: u64 = BASE + 0x8000;
const DYN: u32 = 7;

fn op_fp(funct7: u32, rm: u32, rs2: u32) -> u32 {
    r_type(0x53, rm, funct7, 1, 2, rs2)
}

/// A machine about to execute `instruction`, with FS Clean; f1 to f4 are 0, 1, 3, 2 as singles.
fn about_to(instruction: u32) -> Machine {
    let mut m = Machine::with_code(&[instruction]);
    m.set_csr(MSTATUS, FS_CLEAN);
    m.hart.set_f(2, ONE_S);
    m.hart.set_f(3, THREE_S);
    m.hart.set_f(4, TWO_S);
    m.hart.set_x(2, DATA);
    m
}

const FADD_S: u32 = 0x00;
const FDIV_S: u32 = 0x0c;

#[test]
fn every_instruction_is_illegal_while_fs_is_off() {
    for instruction in [
        op_fp(FADD_S, DYN, 3),
        i_type(0x07, 2, 1, 2, 0),
        i_type(0x07, 3, 1, 2, 0),
        s_type(0x27, 2, 2, 3, 0),
        s_type(0x27, 3, 2, 3, 0),
        crate::asm::csrrs(5, FCSR.into(), 0),
        0x2188, // C.FLD
    ] {
        let mut m = about_to(instruction);
        m.set_csr(MSTATUS, 0);
        m.step(1);
        assert_eq!((m.csr(MCAUSE), m.csr(MTVAL)), (2, instruction.into()));
    }
}

#[test]
fn result_is_boxed_and_makes_fs_dirty() {
    let mut m = about_to(op_fp(FADD_S, DYN, 3));

    m.step(1);

    assert_eq!(m.hart.f(1), BOX | 0x4080_0000);
    assert_eq!(m.csr(MSTATUS) & FS, FS);
    assert_eq!(m.csr(MSTATUS) >> 63, 1);
    assert_eq!(m.csr(FFLAGS), 0);
}

#[test]
fn stores_and_moves_to_integers_leave_fs_clean() {
    for instruction in [
        s_type(0x27, 2, 2, 3, 0),
        op_fp(0x70, 0, 0),
        op_fp(0x70, 1, 0),
    ] {
        let mut m = about_to(instruction);
        m.set_csr(MSTATUS, FS_INITIAL);
        m.step(1);
        assert_eq!(m.csr(MSTATUS) & FS, FS_INITIAL, "{instruction:#x}");
    }
}

#[test]
fn rounding_mode_comes_from_the_instruction_or_from_frm() {
    for (rm, frm, expected) in [
        (0, 1, THIRD_S),
        (1, 0, THIRD_S_DOWN),
        (DYN, 0, THIRD_S),
        (DYN, 1, THIRD_S_DOWN),
        (DYN, 2, THIRD_S_DOWN),
        (DYN, 3, THIRD_S),
        (DYN, 4, THIRD_S),
    ] {
        let mut m = about_to(op_fp(FDIV_S, rm, 3));
        m.set_csr(FRM, frm);
        m.step(1);
        assert_eq!(m.hart.f(1), expected, "rm {rm} frm {frm}");
        assert_eq!(m.csr(FFLAGS), 1, "inexact");
    }
}

#[test]
fn reserved_rounding_modes_are_illegal() {
    for (rm, frm) in [(5, 0), (6, 0), (DYN, 5), (DYN, 6), (DYN, 7)] {
        for instruction in [op_fp(FDIV_S, rm, 3), 0x1831_0043 | 1 << 7 | rm << 12] {
            let mut m = about_to(instruction);
            m.set_csr(FRM, frm);
            m.step(1);
            assert_eq!(
                (m.csr(MCAUSE), m.csr(MTVAL)),
                (2, instruction.into()),
                "rm {rm} frm {frm}"
            );
        }
    }
}

#[test]
fn flags_accrue() {
    let mut m = about_to(op_fp(FDIV_S, DYN, 5));
    m.hart.set_f(5, BOX);
    m.set_csr(FCSR, 0x12);

    m.step(1);

    assert_eq!(m.hart.f(1), BOX | 0x7f80_0000, "1 / 0");
    assert_eq!(m.csr(FFLAGS), 0x12 | 8, "division by zero");
}

#[test]
fn unboxed_single_is_the_canonical_nan() {
    let mut m = about_to(op_fp(FADD_S, DYN, 3));
    m.hart.set_f(3, 0x3ff0_0000_4040_0000);

    m.step(1);

    assert_eq!(m.hart.f(1), NAN_S);
    assert_eq!(m.csr(FFLAGS), 0, "it is quiet");
}

#[test]
fn sign_injection_unboxes_and_moves_do_not() {
    let mut m = about_to(op_fp(0x10, 0, 3));
    m.hart.set_f(2, 0x1234_5678);
    m.step(1);
    assert_eq!(m.hart.f(1), NAN_S, "FSGNJ.S");

    let mut m = about_to(r_type(0x53, 0, 0x70, 5, 2, 0));
    m.hart.set_f(2, 0x8765_4321);
    m.step(1);
    assert_eq!(m.hart.x(5), 0xffff_ffff_8765_4321, "FMV.X.W");
}

#[test]
fn fused_forms_negate_as_they_are_named() {
    // f2 x f3 = 3, f4 = 2
    for (opcode, expected) in [(0x43, 5.0f32), (0x47, 1.0), (0x4b, -1.0), (0x4f, -5.0)] {
        let mut m = about_to(4 << 27 | 3 << 20 | 2 << 15 | DYN << 12 | 1 << 7 | opcode);
        m.step(1);
        assert_eq!(
            m.hart.f(1),
            BOX | u64::from(expected.to_bits()),
            "opcode {opcode:#x}"
        );
    }
}

#[test]
fn conversions_take_width_and_sign_from_rs2() {
    for (rs2, expected) in [(0, -2i64), (1, 0), (2, -2), (3, 0)] {
        let mut m = about_to(r_type(0x53, 1, 0x61, 5, 2, rs2));
        m.hart.set_f(2, (-2.5f64).to_bits());
        m.step(1);
        assert_eq!(m.hart.x(5).cast_signed(), expected, "FCVT to integer {rs2}");
    }
    for (rs2, expected) in [
        (0, -1.0),
        (1, 4_294_967_295.0),
        (2, -1.0),
        (3, 18_446_744_073_709_551_616.0f64),
    ] {
        let mut m = about_to(r_type(0x53, 0, 0x69, 1, 2, rs2));
        m.hart.set_x(2, u64::MAX);
        m.step(1);
        assert_eq!(m.hart.f(1), expected.to_bits(), "FCVT from integer {rs2}");
    }
    let mut m = about_to(r_type(0x53, 0, 0x21, 1, 3, 0));
    m.step(1);
    assert_eq!(m.hart.f(1), 3.0f64.to_bits(), "FCVT.D.S");
    let mut m = about_to(r_type(0x53, 0, 0x20, 1, 2, 1));
    m.hart.set_f(2, 3.0f64.to_bits());
    m.step(1);
    assert_eq!(m.hart.f(1), THREE_S, "FCVT.S.D");
}

#[test]
fn loads_box_and_stores_take_the_low_half() {
    let mut m = about_to(i_type(0x07, 2, 1, 2, 4));
    m.write64(DATA, 0x4040_0000_0000_0000);
    m.step(1);
    assert_eq!(m.hart.f(1), THREE_S);

    let mut m = about_to(s_type(0x27, 2, 2, 3, 0));
    m.step(1);
    assert_eq!(m.read64(DATA), 0x4040_0000);
}

#[test]
fn comparisons_write_integers_and_signal_nan() {
    for (rm, b, expected, flags) in [
        (2, ONE_S, 1, 0),
        (1, THREE_S, 1, 0),
        (0, ONE_S, 1, 0),
        (1, NAN_S, 0, 16),
        (2, NAN_S, 0, 0),
    ] {
        let mut m = about_to(r_type(0x53, rm, 0x50, 5, 2, 3));
        m.hart.set_f(3, b);
        m.step(1);
        assert_eq!((m.hart.x(5), m.csr(FFLAGS)), (expected, flags), "rm {rm}");
    }
}
