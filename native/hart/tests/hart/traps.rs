//! Exceptions: cause, `xepc`, `xtval`, delegation, returns, and what `mstatus` traps.

use virtmesh_hart::Privilege::{self, Machine as M, Supervisor as S, User as U};

use crate::asm::{EBREAK, ECALL, FENCE_I, MRET, NOP, SRET, WFI, csrrs, csrrw, jalr, sfence_vma};
use crate::csrs::{
    MCAUSE, MEDELEG, MEPC, MSTATUS, MTVAL, SATP, SCAUSE, SEPC, SSTATUS, STVAL, STVEC,
};
use crate::machine::{BASE, CODE, HANDLER, Machine};

const MIE: u64 = 1 << 3;
const MPIE: u64 = 1 << 7;
const SPP: u64 = 1 << 8;
const SIE: u64 = 1 << 1;
const SPIE: u64 = 1 << 5;
const MPP: u64 = 3 << 11;
const MPRV: u64 = 1 << 17;
const TVM: u64 = 1 << 20;
const TW: u64 = 1 << 21;
const TSR: u64 = 1 << 22;

/// A machine about to execute `instruction` in `privilege`.
fn about_to(instruction: u32, privilege: Privilege, mstatus: u64) -> Machine {
    let mut m = Machine::with_code(&[instruction]);
    m.open_pmp();
    m.set_csr(MSTATUS, mstatus);
    m.enter(privilege, CODE);
    m
}

/// Cause and value of the trap to M mode that `instruction` raises.
fn trap_of(instruction: u32, privilege: Privilege, mstatus: u64) -> (u64, u64) {
    let mut m = about_to(instruction, privilege, mstatus);
    let before = m.hart.instret();
    m.step(1);
    assert_eq!(m.hart.pc(), HANDLER, "{instruction:#x} did not trap");
    assert_eq!(m.csr(MEPC), CODE);
    assert_eq!(m.hart.instret(), before, "what traps does not retire");
    (m.csr(MCAUSE), m.csr(MTVAL))
}

#[test]
fn environment_calls_name_the_mode() {
    assert_eq!(trap_of(ECALL, U, 0), (8, 0));
    assert_eq!(trap_of(ECALL, S, 0), (9, 0));
    assert_eq!(trap_of(ECALL, M, 0), (11, 0));
}

#[test]
fn ebreak_gives_its_address() {
    assert_eq!(trap_of(EBREAK, U, 0), (3, CODE));
    assert_eq!(trap_of(0x9002, U, 0), (3, CODE), "C.EBREAK");
}

#[test]
fn illegal_instructions_give_their_bits() {
    for raw in [0u32, 0x0000_0007, 0xffff_ffff, 0x0000_707f, 0x3020_00f3] {
        let bits = if raw & 3 == 3 { raw } else { raw & 0xffff };
        assert_eq!(trap_of(raw, M, 0), (2, bits.into()));
    }
}

#[test]
fn privileged_instructions_are_illegal_below_their_mode() {
    for instruction in [
        MRET,
        SRET,
        WFI,
        sfence_vma(0, 0),
        csrrs(5, 0x300, 0),
        csrrs(5, 0x100, 0),
    ] {
        assert_eq!(trap_of(instruction, U, 0), (2, instruction.into()));
    }
    for instruction in [MRET, csrrs(5, 0x300, 0)] {
        assert_eq!(trap_of(instruction, S, 0), (2, instruction.into()));
    }
}

#[test]
fn mstatus_traps_supervisor_instructions() {
    let satp = csrrs(5, SATP.into(), 0);
    for (instruction, bit) in [(SRET, TSR), (WFI, TW), (sfence_vma(0, 0), TVM), (satp, TVM)] {
        assert_eq!(trap_of(instruction, S, bit), (2, instruction.into()));
        let mut m = about_to(instruction, S, 0);
        m.run(1);
        assert_ne!(
            m.hart.pc(),
            HANDLER,
            "{instruction:#x} is allowed without the bit"
        );
        let mut m = about_to(instruction, M, bit);
        m.run(1);
        assert_ne!(
            m.hart.pc(),
            HANDLER,
            "{instruction:#x} is allowed in M mode"
        );
    }
}

#[test]
fn csr_without_number_and_writes_of_read_only_ones_are_illegal() {
    for instruction in [
        csrrs(5, 0x7ff, 0),
        csrrs(5, 0x3c0, 0),
        csrrw(5, 0xf14, 6),
        csrrs(5, 0xf14, 6),
        csrrw(5, 0xc00, 0),
    ] {
        assert_eq!(trap_of(instruction, M, 0), (2, instruction.into()));
    }
    let mut m = about_to(csrrs(5, 0xf14, 0), M, 0);
    m.step(1);
    assert_eq!(m.hart.pc(), CODE + 4, "reading mhartid is allowed");
}

#[test]
fn trap_to_machine_mode_stacks_mode_and_enable() {
    let mut m = about_to(ECALL, S, MPIE);
    assert_eq!(
        m.csr(MSTATUS) & (MIE | MPIE),
        MIE | MPIE,
        "MRET restored MIE"
    );

    m.step(1);

    let mstatus = m.csr(MSTATUS);
    assert_eq!(m.hart.privilege(), M);
    assert_eq!(mstatus & (MIE | MPIE | MPP), MPIE | 1 << 11);
}

#[test]
fn delegated_exception_goes_to_supervisor_mode() {
    let mut m = about_to(ECALL, U, 0);
    m.set_csr(MEDELEG, 1 << 8);
    m.set_csr(STVEC, BASE + 0x3001);
    m.set_csr(SSTATUS, SIE);

    m.step(1);

    assert_eq!(m.hart.privilege(), S);
    assert_eq!(
        m.hart.pc(),
        BASE + 0x3000,
        "exceptions go to the base of a vectored stvec"
    );
    assert_eq!((m.csr(SCAUSE), m.csr(SEPC), m.csr(STVAL)), (8, CODE, 0));
    assert_eq!(m.csr(SSTATUS) & (SIE | SPIE | SPP), SPIE);
}

#[test]
fn exception_of_machine_mode_is_never_delegated() {
    let mut m = about_to(EBREAK, M, 0);
    m.set_csr(MEDELEG, 1 << 3);

    m.step(1);

    assert_eq!((m.hart.privilege(), m.hart.pc()), (M, HANDLER));
}

#[test]
fn sret_returns_to_the_stacked_mode_and_clears_mprv() {
    let mut m = about_to(SRET, S, 0);
    m.set_csr(MSTATUS, SPIE | SPP | MPRV | 1 << 11);
    m.set_csr(SEPC, CODE + 0x101);

    m.step(1);

    assert_eq!((m.hart.privilege(), m.hart.pc()), (S, CODE + 0x100));
    assert_eq!(m.csr(MSTATUS) & (SIE | SPIE | SPP | MPRV), SIE | SPIE);
}

#[test]
fn mret_to_machine_mode_keeps_mprv_and_to_others_clears_it() {
    for (to, kept) in [(M, MPRV), (S, 0), (U, 0)] {
        let mut m = Machine::new();
        m.set_csr(MSTATUS, MPRV);
        m.enter(to, CODE);
        assert_eq!(m.csr(MSTATUS) & MPRV, kept);
        assert_eq!(m.csr(MSTATUS) & MPP, 0, "MPP becomes U");
    }
}

#[test]
fn jump_to_nowhere_faults_at_the_target() {
    let mut m = Machine::with_code(&[jalr(0, 5, 0)]);
    m.hart.set_x(5, 0x1234_5677);

    m.step(2);

    assert_eq!(
        (m.csr(MCAUSE), m.csr(MEPC), m.csr(MTVAL)),
        (1, 0x1234_5676, 0x1234_5676)
    );
}

#[test]
fn fence_i_and_nop_retire_in_every_mode() {
    for privilege in [U, S, M] {
        for instruction in [NOP, FENCE_I] {
            let mut m = about_to(instruction, privilege, 0);
            m.step(1);
            assert_eq!(m.hart.pc(), CODE + 4);
        }
    }
}
