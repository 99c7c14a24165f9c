//! A hostile guest: random instructions, registers and answers, with traps into more of them. Nothing panics, the
//! budget holds, and what is written stays in RAM.

use proptest::prelude::*;
use virtmesh_hart::{Exit, Time};

use crate::csrs::{MEDELEG, MIDELEG, MIE, MSTATUS, MTVEC, SATP, STVEC};
use crate::machine::{BASE, CODE, Machine, SIZE};

const BUDGET: u64 = 3000;

/// Mostly instructions of every major opcode, some CSR and privileged ones, some rubbish.
fn word() -> impl Strategy<Value = u32> {
    const OPCODES: [u32; 19] = [
        0x03, 0x07, 0x0f, 0x13, 0x17, 0x1b, 0x23, 0x27, 0x2f, 0x33, 0x37, 0x3b, 0x43, 0x4f, 0x53,
        0x63, 0x67, 0x6f, 0x73,
    ];
    const SYSTEM: [u32; 8] = [
        0x0000_0073,
        0x0010_0073,
        0x1020_0073,
        0x3020_0073,
        0x1050_0073,
        0x1200_0073,
        0x0000_100f,
        0x1800_1073,
    ];
    const CSRS: [u32; 12] = [
        0x300, 0x304, 0x344, 0x180, 0x305, 0x105, 0x341, 0x141, 0x3a0, 0x3b0, 0x14d, 0x30a,
    ];
    prop_oneof![
        8 => (any::<u32>(), prop::sample::select(OPCODES.to_vec()))
            .prop_map(|(word, opcode)| word & !0x7f | opcode),
        1 => prop::sample::select(SYSTEM.to_vec()),
        1 => (any::<u32>(), prop::sample::select(CSRS.to_vec()))
            .prop_map(|(word, csr)| csr << 20 | word & 0x000f_3f80 | 0x1073),
        3 => any::<u32>(),
    ]
}

/// Values near RAM, near the ends of the address space, and any.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0..SIZE).prop_map(|offset| BASE + offset),
        1 => (0u64..64).prop_map(|offset| BASE + SIZE - 32 + offset),
        1 => (0u64..64).prop_map(|offset| offset.wrapping_sub(32)),
        1 => any::<u64>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_code_ends_within_its_budget(
        words in prop::collection::vec(word(), 200),
        registers in prop::collection::vec(value(), 31),
        csrs in prop::collection::vec(value(), 7),
        answers in prop::collection::vec(prop::result::maybe_ok(any::<u64>(), Just(())), 8),
    ) {
        let mut m = Machine::with(Time::Instructions { hz: 1, per_tick: 3 }, SIZE);
        for page in 0..SIZE / 4096 {
            m.write32(BASE + page * 4096 + page % 8 * 2, &words);
        }
        for (i, &register) in registers.iter().enumerate() {
            m.hart.set_x(i + 1, register);
        }
        m.open_pmp();
        let numbers = [MEDELEG, MIDELEG, MIE, MSTATUS, MTVEC, STVEC, SATP];
        for (&number, &value) in numbers.iter().zip(&csrs) {
            m.set_csr(number, value);
        }
        m.set_csr(SATP, csrs[6] & 8 << 60 | BASE >> 12);
        m.hart.set_mtimecmp(100);
        m.hart.set_pc(CODE + 2);
        let mut answers = answers.iter().cycle();
        let mut left = BUDGET;
        let mut exits = 0;
        while left > 0 && exits < 1000 {
            let before = m.hart.instret();
            let exit = m.run(left);
            let retired = m.hart.instret() - before;
            prop_assert!(retired <= left);
            left -= retired;
            exits += 1;
            match exit {
                Exit::Budget => break,
                Exit::Access(access) => {
                    prop_assert!(!m.hart.ram().contains(access.address, access.width.into()));
                    prop_assert_eq!(access.address % u64::from(access.width), 0);
                    m.hart.answer(*answers.next().expect("a cycle"));
                }
                Exit::Wfi { deadline } => m.hart.sleep_until(deadline.unwrap_or(0)),
                other => prop_assert!(false, "{:?}", other),
            }
            prop_assert_eq!(m.hart.x(0), 0);
            prop_assert_eq!(m.hart.pc() & 1, 0);
        }
    }
}
