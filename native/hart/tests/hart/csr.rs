//! What each CSR keeps of what is written.

use virtmesh_hart::Privilege::{Supervisor as S, User as U};

use crate::asm::{csrrc, csrrs, csrrw};
use crate::csrs::{
    CYCLE, FCSR, FFLAGS, FRM, INSTRET, MCAUSE, MCOUNTEREN, MCOUNTINHIBIT, MCYCLE, MEDELEG, MENVCFG,
    MEPC, MIDELEG, MIE, MINSTRET, MISA, MSCRATCH, MSTATUS, MTVAL, MTVEC, PMPADDR0, PMPCFG0,
    PMPCFG2, SATP, SCAUSE, SCOUNTEREN, SENVCFG, SEPC, SSCRATCH, SSTATUS, STIMECMP, STVAL, STVEC,
};
use crate::machine::{CODE, Machine};

const ALL: u64 = u64::MAX;
const XL: u64 = 2 << 32 | 2 << 34;
const SD: u64 = 1 << 63;

/// CSR, what is left of all ones, what is left of zero.
const MASKS: &[(u16, u64, u64)] = &[
    (FFLAGS, 0x1f, 0),
    (FRM, 7, 0),
    (FCSR, 0xff, 0),
    (SSTATUS, 0xc_6122 | 2 << 32 | SD, 2 << 32),
    (STVEC, 0, 0), // mode 3 is reserved: the old value stays
    (SCOUNTEREN, 0xffff_ffff, 0),
    (SENVCFG, 1, 0),
    (SSCRATCH, ALL, 0),
    (SEPC, ALL - 1, 0),
    (SCAUSE, ALL, 0),
    (STVAL, ALL, 0),
    (STIMECMP, ALL, 0),
    (SATP, 0, 0), // mode 15 does not exist: the write has no effect
    (MSTATUS, 0x7e_79aa | XL | SD, XL),
    (MEDELEG, 0xb3ff, 0),
    (MIDELEG, 0x222, 0),
    (MIE, 0xaaa, 0),
    (MTVEC, 0, 0),
    (MCOUNTEREN, 0xffff_ffff, 0),
    (MENVCFG, 1 << 63 | 1 << 61 | 1, 0),
    (MCOUNTINHIBIT, 5, 0),
    (MSCRATCH, ALL, 0),
    (MEPC, ALL - 1, 0),
    (MCAUSE, ALL, 0),
    (MTVAL, ALL, 0),
    (PMPADDR0, (1 << 54) - 1, 0),
    (PMPCFG0, 0x9f9f_9f9f_9f9f_9f9f, 0x9f9f_9f9f_9f9f_9f9f), // locked by the first write
    (0xb03, 0, 0),
    (0x323, 0, 0),
];

#[test]
fn registers_keep_their_legal_values() {
    for &(number, of_ones, of_zero) in MASKS {
        let mut m = Machine::new();
        m.set_csr(MTVEC, 0);

        m.set_csr(number, ALL);
        assert_eq!(m.csr(number), of_ones, "CSR {number:#x} after all ones");
        m.set_csr(number, 0);

        assert_eq!(m.csr(number), of_zero, "CSR {number:#x} after zero");
    }
}

#[test]
fn misa_names_the_extensions_and_keeps_them() {
    let mut m = Machine::new();
    let letters = "ACDFIMSU"
        .bytes()
        .fold(2 << 62, |misa, letter| misa | 1u64 << (letter - b'A'));

    m.set_csr(MISA, 0);

    assert_eq!(m.csr(MISA), letters);
}

#[test]
fn tvec_and_satp_take_legal_modes() {
    let mut m = Machine::new();
    m.set_csr(MTVEC, 0x8000_1001);
    m.set_csr(MTVEC, 0x9000_1002);
    assert_eq!(m.csr(MTVEC), 0x8000_1001);

    m.set_csr(SATP, 8 << 60 | 0xffff << 44 | 0x80001);
    assert_eq!(m.csr(SATP), 8 << 60 | 0xffff << 44 | 0x80001);
    m.set_csr(SATP, 9 << 60);
    assert_eq!(
        m.csr(SATP),
        8 << 60 | 0xffff << 44 | 0x80001,
        "Sv48 is absent"
    );
    m.set_csr(SATP, 5);
    assert_eq!(m.csr(SATP), 5);
}

#[test]
fn reserved_mpp_keeps_the_old_one() {
    let mut m = Machine::new();
    m.set_csr(MSTATUS, 1 << 11);

    m.set_csr(MSTATUS, 2 << 11);

    assert_eq!(m.csr(MSTATUS) >> 11 & 3, 1);
}

#[test]
fn absent_and_read_only_registers_refuse() {
    let mut m = Machine::new();
    for number in [0x000, 0x104 + 0x900, 0x3c0, 0x3a1, 0x3a4, 0x7a0, 0xfff] {
        assert_eq!(m.hart.csr(number), None, "{number:#x}");
        assert!(!m.hart.set_csr(number, 0), "{number:#x}");
    }
    for number in [
        0xc00, 0xc01, 0xc02, 0xc03, 0xf11, 0xf12, 0xf13, 0xf14, 0xf15,
    ] {
        assert!(m.hart.csr(number).is_some(), "{number:#x}");
        assert!(!m.hart.set_csr(number, 0), "{number:#x}");
    }
}

#[test]
fn set_and_clear_change_only_their_bits() {
    let mut m = Machine::with_code(&[
        csrrs(5, MSCRATCH.into(), 10),
        csrrc(6, MSCRATCH.into(), 11),
        csrrw(7, MSCRATCH.into(), 12),
    ]);
    m.set_csr(MSCRATCH, 0b0011);
    m.hart.set_x(10, 0b0110);
    m.hart.set_x(11, 0b0010);
    m.hart.set_x(12, 0xff);

    m.step(3);

    assert_eq!(
        (m.hart.x(5), m.hart.x(6), m.hart.x(7)),
        (0b0011, 0b0111, 0b0101)
    );
    assert_eq!(m.csr(MSCRATCH), 0xff);
}

#[test]
fn source_and_destination_may_be_the_same_register() {
    let mut m = Machine::with_code(&[csrrw(10, MSCRATCH.into(), 10)]);
    m.set_csr(MSCRATCH, 1);
    m.hart.set_x(10, 2);

    m.step(1);

    assert_eq!((m.hart.x(10), m.csr(MSCRATCH)), (1, 2));
}

#[test]
fn counters_count_retired_instructions_and_can_be_written_and_stopped() {
    let mut m = Machine::with_code(&[
        csrrw(0, MINSTRET.into(), 10),
        csrrs(5, INSTRET.into(), 0),
        csrrs(6, INSTRET.into(), 0),
        csrrw(0, MCOUNTINHIBIT.into(), 11),
        csrrs(7, INSTRET.into(), 0),
        csrrs(8, INSTRET.into(), 0),
        csrrs(9, CYCLE.into(), 0),
    ]);
    m.hart.set_x(10, 1000);
    m.hart.set_x(11, 4);

    m.step(7);

    assert_eq!((m.hart.x(5), m.hart.x(6)), (1000, 1001));
    assert_eq!((m.hart.x(7), m.hart.x(8)), (1003, 1003), "stopped");
    assert_eq!(m.hart.x(9), 6, "mcycle goes on");
    m.set_csr(MCYCLE, 77);
    assert_eq!(m.csr(MCYCLE), 77);
}

#[test]
fn counters_are_opened_mode_by_mode() {
    for (mcounteren, scounteren, in_s, in_u) in [
        (0, 7, false, false),
        (4, 0, true, false),
        (4, 4, true, true),
    ] {
        for (privilege, allowed) in [(S, in_s), (U, in_u)] {
            let mut m = Machine::with_code(&[csrrs(5, INSTRET.into(), 0)]);
            m.open_pmp();
            m.set_csr(MCOUNTEREN, mcounteren);
            m.set_csr(SCOUNTEREN, scounteren);
            m.enter(privilege, CODE);
            m.step(1);
            assert_eq!(
                m.hart.pc() == CODE + 4,
                allowed,
                "{privilege:?} {mcounteren} {scounteren}"
            );
        }
    }
}

#[test]
fn reset_restores_every_register() {
    let fresh = Machine::new();
    let mut m = Machine::new();
    for &(number, ..) in MASKS {
        m.set_csr(number, ALL);
    }
    m.set_csr(PMPCFG2, ALL);
    m.hart.set_x(5, 1);

    m.hart.reset(CODE, 1, 2);

    for &(number, ..) in MASKS.iter().filter(|mask| mask.0 != MTVEC) {
        assert_eq!(m.csr(number), fresh.csr(number), "CSR {number:#x}");
    }
    assert_eq!(m.csr(MENVCFG), 1 << 61, "hardware updates A and D");
    assert_eq!((m.hart.x(5), m.hart.x(10), m.hart.x(11)), (0, 1, 2));
}
