//! Loads and stores outside RAM, the budget, kick and WFI.

use std::sync::atomic::Ordering;

use virtmesh_hart::{Access, Exit};

use crate::asm::{NOP, WFI, addi, jal, load, store};
use crate::csrs::{MCAUSE, MEPC, MIE, MTVAL, MTVEC};
use crate::machine::{CODE, HANDLER, Machine};

const INTERRUPT: u64 = 1 << 63;
const DEVICE: u64 = 0x1000_0000;

#[test]
fn load_leaves_and_executes_again_with_the_answer() {
    let mut m = Machine::with_code(&[load(2, 6, 5, 4), addi(7, 6, 1)]);
    m.hart.set_x(5, DEVICE);
    let access = Access {
        address: DEVICE + 4,
        width: 4,
        value: None,
        pc: CODE,
    };

    assert_eq!(m.run(10), Exit::Access(access));
    assert_eq!((m.hart.pc(), m.hart.instret()), (CODE, 0));
    m.hart.answer(Ok(0xffff_ffff_8000_0001));
    m.step(2);

    assert_eq!(
        m.hart.x(6),
        0xffff_ffff_8000_0001,
        "sign-extended from 32 bits"
    );
    assert_eq!(m.hart.x(7), 0xffff_ffff_8000_0002);
    assert_eq!(m.hart.instret(), 2);
}

#[test]
fn store_carries_its_low_bytes() {
    for log in 0..4u32 {
        let mut m = Machine::with_code(&[store(log, 5, 6, 0)]);
        m.hart.set_x(5, DEVICE);
        m.hart.set_x(6, 0x8899_aabb_ccdd_eeff);
        let bits = 8 << log;
        let expected = 0x8899_aabb_ccdd_eeff & (u64::MAX >> (64 - bits));

        let exit = m.run(10);

        let Exit::Access(access) = exit else {
            panic!("{exit:?}")
        };
        assert_eq!(access.value, Some(expected));
        assert_eq!(u64::from(access.width), bits / 8);
        m.hart.answer(Ok(0));
        m.step(1);
        assert_eq!(m.hart.pc(), CODE + 4);
    }
}

#[test]
fn without_an_answer_the_access_is_asked_for_again() {
    let mut m = Machine::with_code(&[load(3, 6, 5, 0)]);
    m.hart.set_x(5, DEVICE);

    let first = m.run(10);
    let second = m.run(10);

    assert_eq!(first, second);
    assert_eq!(m.hart.instret(), 0);
}

#[test]
fn refused_access_is_an_access_fault_with_the_address() {
    for (instruction, cause) in [(load(2, 6, 5, 8), 5), (store(2, 5, 6, 8), 7)] {
        let mut m = Machine::with_code(&[instruction]);
        m.hart.set_x(5, DEVICE);
        assert!(matches!(m.run(10), Exit::Access(_)));

        m.hart.answer(Err(()));
        m.step(1);

        assert_eq!(m.csr(MCAUSE), cause);
        assert_eq!(m.csr(MTVAL), DEVICE + 8);
        assert_eq!(m.csr(MEPC), CODE);
        assert_eq!(m.hart.pc(), HANDLER);
    }
}

#[test]
fn misaligned_device_access_is_an_access_fault() {
    for (instruction, cause) in [(load(2, 6, 5, 1), 5), (store(3, 5, 6, 1), 7)] {
        let mut m = Machine::with_code(&[instruction]);
        m.hart.set_x(5, DEVICE);

        m.step(1);

        assert_eq!((m.csr(MCAUSE), m.csr(MTVAL)), (cause, DEVICE + 1));
    }
}

#[test]
fn pending_answer_is_used_before_an_interrupt_is_taken() {
    let mut m = Machine::with_code(&[load(0, 6, 5, 0), NOP]);
    m.hart.set_x(5, DEVICE);
    m.set_csr(MIE, 1 << 11);
    m.set_csr(crate::csrs::MSTATUS, 1 << 3);
    assert!(matches!(m.run(10), Exit::Access(_)));

    m.hart.set_lines(false, true, false);
    m.hart.answer(Ok(0x42));
    m.step(1);
    assert_eq!(
        (m.hart.x(6), m.hart.pc()),
        (0x42, CODE + 4),
        "the read is not lost"
    );
    m.step(1);

    assert_eq!(m.csr(MEPC), CODE + 4);
    assert_eq!(m.csr(MCAUSE), INTERRUPT + 11);
}

#[test]
fn answer_without_an_access_is_ignored() {
    let mut m = Machine::with_code(&[load(0, 6, 5, 0)]);
    m.hart.set_x(5, DEVICE);

    m.hart.answer(Ok(7));

    assert!(matches!(m.run(1), Exit::Access(_)));
}

#[test]
fn budget_is_exact() {
    for budget in [0, 1, 2, 3, 100, 2047, 2048, 2049, 4096, 5000, 100_000] {
        let mut m = Machine::with_code(&[NOP, NOP, addi(5, 5, 1), jal(0, -12)]);

        assert_eq!(m.run(budget), Exit::Budget);

        assert_eq!(m.hart.instret(), budget);
        assert_eq!(m.hart.pc(), CODE + budget % 4 * 4);
    }
}

#[test]
fn budget_ends_a_guest_that_only_traps() {
    let mut m = Machine::with_code(&[0]);
    m.set_csr(MTVEC, CODE);

    assert_eq!(m.run(100_000), Exit::Budget);

    assert_eq!(m.hart.instret(), 0);
}

#[test]
fn kick_ends_an_endless_loop_and_is_cleared() {
    let mut m = Machine::with_code(&[jal(0, 0)]);
    m.kick.store(true, Ordering::Relaxed);

    assert_eq!(m.run(u64::MAX), Exit::Kick);

    assert!(!m.kick.load(Ordering::Relaxed));
    assert_eq!(m.run(10), Exit::Budget);
}

#[test]
fn wfi_leaves_with_the_first_enabled_deadline() {
    let mut m = Machine::with_code(&[WFI, NOP]);
    m.hart.set_mtimecmp(5000);

    assert_eq!(m.run(10), Exit::Wfi { deadline: None }, "MTIE is clear");
    assert_eq!(m.hart.pc(), CODE + 4);
    m.hart.set_pc(CODE);
    m.set_csr(MIE, 1 << 7);

    assert_eq!(
        m.run(10),
        Exit::Wfi {
            deadline: Some(5000)
        }
    );
    m.hart.sleep_until(5000);
    assert_eq!(m.hart.mtime(), 5000);
    assert!(m.hart.interrupt_pending());
    m.hart.set_pc(CODE);
    m.step(2);
    assert_eq!(
        m.hart.pc(),
        CODE + 8,
        "a pending interrupt ends WFI, though MIE is clear"
    );
}

#[test]
fn code_runs_over_the_end_of_ram_into_a_fault() {
    let end = crate::machine::BASE + crate::machine::SIZE;
    let mut m = Machine::new();
    m.set_csr(MTVEC, CODE);
    m.write32(end - 4, &[NOP]);
    m.hart.set_pc(end - 4);

    m.step(2);

    assert_eq!((m.csr(MCAUSE), m.csr(MEPC), m.csr(MTVAL)), (1, end, end));
}
