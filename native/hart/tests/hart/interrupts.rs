//! Interrupts: order, enables, delegation, vectors, timers.

use virtmesh_hart::Privilege::{Machine as M, Supervisor as S, User as U};
use virtmesh_hart::{Exit, Time};

use crate::asm::{NOP, csrrs, csrrsi, csrrw, jal};
use crate::csrs::{
    MCAUSE, MCOUNTEREN, MENVCFG, MEPC, MIDELEG, MIE, MIP, MSTATUS, MTVEC, SCAUSE, SIE, SIP,
    STIMECMP, STVEC, TIME,
};
use crate::machine::{BASE, CODE, HANDLER, Machine};

const ALL: u64 = 0xaaa;
const STATUS_MIE: u64 = 1 << 3;
const STATUS_SIE: u64 = 1 << 1;
const INTERRUPT: u64 = 1 << 63;
const STCE: u64 = 1 << 63;
const ADUE: u64 = 1 << 61;

#[test]
fn pending_interrupts_are_taken_in_order() {
    let mut m = Machine::with_code(&[NOP; 16]);
    m.hart.set_lines(true, true, true);
    m.hart.set_mtimecmp(0);
    m.set_csr(MIP, 1 << 1 | 1 << 5);
    m.set_csr(MIE, ALL);
    for number in [11, 3, 7, 9, 1, 5] {
        m.set_csr(MSTATUS, STATUS_MIE);
        m.hart.set_pc(CODE);
        m.step(1);
        assert_eq!(m.csr(MCAUSE), INTERRUPT + number);
        let enabled = m.csr(MIE);
        m.set_csr(MIE, enabled & !(1 << number));
    }
}

#[test]
fn pending_interrupts_wait_for_their_enables() {
    let mut m = Machine::with_code(&[NOP; 16]);
    m.hart.set_lines(false, true, false);

    m.set_csr(MSTATUS, STATUS_MIE);
    m.step(1);
    assert_eq!(m.hart.pc(), CODE + 4, "MEIE is clear");
    m.set_csr(MIE, ALL);
    m.set_csr(MSTATUS, 0);
    m.step(1);
    assert_eq!(m.hart.pc(), CODE + 8, "MIE is clear");
    m.set_csr(MSTATUS, STATUS_MIE);
    m.step(1);

    assert_eq!((m.csr(MCAUSE), m.csr(MEPC)), (INTERRUPT + 11, CODE + 8));
}

#[test]
fn lower_modes_take_interrupts_of_higher_ones_whatever_the_enable() {
    let mut m = Machine::with_code(&[NOP; 16]);
    m.open_pmp();
    m.enter(S, CODE);
    m.set_csr(MIE, ALL);
    m.set_csr(MIDELEG, 0x222);

    m.hart.set_lines(false, false, true);
    m.step(1);
    assert_eq!(
        m.hart.pc(),
        CODE + 4,
        "delegated, and SIE is clear in S mode"
    );
    m.hart.set_lines(true, false, true);
    m.step(1);

    assert_eq!((m.hart.privilege(), m.csr(MCAUSE)), (M, INTERRUPT + 3));
}

#[test]
fn delegated_interrupt_goes_to_the_vector_of_supervisor_mode() {
    let mut m = Machine::with_code(&[NOP; 16]);
    m.open_pmp();
    m.write32(BASE + 0x3000, &[NOP; 16]);
    m.enter(U, CODE);
    m.set_csr(MIE, ALL);
    m.set_csr(MIDELEG, 0x222);
    m.set_csr(STVEC, BASE + 0x3001);
    m.hart.set_lines(false, false, true);

    m.step(1);

    assert_eq!((m.hart.privilege(), m.csr(SCAUSE)), (S, INTERRUPT + 9));
    assert_eq!(m.hart.pc(), BASE + 0x3000 + 4 * 9 + 4);
}

#[test]
fn delegated_interrupt_is_not_taken_in_machine_mode() {
    let mut m = Machine::with_code(&[NOP; 16]);
    m.set_csr(MIE, ALL);
    m.set_csr(MIDELEG, 0x222);
    m.set_csr(MSTATUS, STATUS_MIE | STATUS_SIE);
    m.hart.set_lines(false, false, true);

    m.step(1);

    assert_eq!(m.hart.pc(), CODE + 4);
}

#[test]
fn vectored_mtvec_takes_interrupts_to_their_slot() {
    let mut m = Machine::with_code(&[NOP]);
    m.set_csr(MTVEC, HANDLER + 1);
    m.write32(HANDLER + 28, &[jal(0, 0)]);
    m.set_csr(MIE, ALL);
    m.set_csr(MSTATUS, STATUS_MIE);
    m.hart.set_mtimecmp(0);

    m.step(1);

    assert_eq!(m.hart.pc(), HANDLER + 4 * 7);
}

#[test]
fn instruction_time_interrupts_at_the_same_instruction_every_time() {
    let run = || {
        let mut m = Machine::with_code(&[jal(0, 0)]);
        m.set_csr(MIE, 1 << 7);
        m.set_csr(MSTATUS, STATUS_MIE);
        m.hart.set_mtimecmp(1234);
        m.step(12_339);
        let before = m.csr(MCAUSE);
        m.run(10);
        (before, m.csr(MCAUSE), m.hart.mtime())
    };
    let first = run();
    assert_eq!((first.0, first.1), (0, INTERRUPT + 7));
    assert_eq!(run(), first);
}

#[test]
fn external_line_does_not_become_a_software_bit() {
    let mut m = Machine::with_code(&[csrrsi(5, MIP.into(), 2), csrrs(6, SIP.into(), 0)]);
    m.set_csr(MIDELEG, 0x222);
    m.hart.set_lines(false, false, true);

    m.step(2);
    m.hart.set_lines(false, false, false);

    assert_eq!(m.hart.x(5), 1 << 9, "the instruction reads the line");
    assert_eq!(m.hart.x(6), 1 << 9 | 1 << 1);
    assert_eq!(m.csr(MIP), 1 << 1);
}

#[test]
fn supervisor_sees_and_sets_only_what_is_delegated() {
    let mut m = Machine::new();
    m.hart.set_lines(true, true, true);
    m.set_csr(MIP, 0x222);
    m.set_csr(MIE, ALL);
    m.set_csr(MIDELEG, 0x202);

    assert_eq!((m.csr(SIP), m.csr(SIE)), (0x202, 0x202));
    m.set_csr(SIP, 0);
    m.set_csr(SIE, 0);

    assert_eq!(m.csr(MIE), ALL & !0x202);
    assert_eq!(m.csr(MIP) & 0x222, 0x220, "only SSIP is writable by sip");
}

#[test]
fn stimecmp_drives_stip_while_stce_is_set() {
    let mut m = Machine::new();
    m.set_csr(STIMECMP, 5);
    m.hart.set_mtime(5);
    assert_eq!(m.csr(MIP) & 1 << 5, 0, "STCE is clear");

    m.set_csr(MENVCFG, STCE | ADUE);
    assert_eq!(m.csr(MIP) & 1 << 5, 1 << 5);
    m.set_csr(MIP, 0);
    assert_eq!(m.csr(MIP) & 1 << 5, 1 << 5, "STIP is read-only now");
    m.set_csr(STIMECMP, 6);

    assert_eq!(m.csr(MIP) & 1 << 5, 0);
}

#[test]
fn stimecmp_in_supervisor_mode_needs_both_enables() {
    let access = csrrw(0, STIMECMP.into(), 0);
    for (menvcfg, mcounteren, allowed) in [
        (0, 0, false),
        (STCE, 0, false),
        (0, 2, false),
        (STCE, 2, true),
    ] {
        let mut m = Machine::with_code(&[access]);
        m.open_pmp();
        m.set_csr(MENVCFG, menvcfg);
        m.set_csr(MCOUNTEREN, mcounteren);
        m.enter(S, CODE);
        m.step(1);
        assert_eq!(
            m.hart.pc() == CODE + 4,
            allowed,
            "{menvcfg:#x} {mcounteren}"
        );
    }
}

#[test]
fn time_is_mtime() {
    let mut m = Machine::with_code(&[csrrs(5, TIME.into(), 0)]);
    m.hart.set_mtime(1_000_000);

    m.step(1);

    assert_eq!(m.hart.x(5), 1_000_000);
}

#[test]
fn real_time_goes_on_without_instructions() {
    let mut m = Machine::with_time(Time::Real { hz: 1_000_000_000 });
    m.hart.set_mtime(0);
    m.set_csr(MIE, 1 << 7);
    m.hart.set_mtimecmp(1000);
    m.write32(CODE, &[crate::asm::WFI]);

    while !m.hart.interrupt_pending() {
        std::hint::spin_loop();
    }
    m.hart.advance(1 << 60);

    assert!(
        m.hart.mtime() < 1 << 60,
        "real time is not advanced by hand"
    );
    assert_eq!(m.run(1), Exit::Budget);
}
