//! A hostile guest: any instructions, registers and answers. The budget holds, and what is written stays
//! in RAM.

use std::sync::atomic::AtomicBool;

use arbitrary::{Result, Unstructured};
use virtmesh_hart::{Exit, Hart, Ram, Time};

const BASE: u64 = 0x8000_0000;
const SIZE: usize = 1 << 16;
/// Bytes behind RAM that nothing may change.
const FENCE: usize = 4096;
const BUDGET: u64 = 500;
/// Loads, stores and answers that leave the hart in one input.
const EXITS: usize = 50;
/// mstatus, mie, mtvec, medeleg, mideleg, stvec, satp, pmpcfg0, pmpaddr0, menvcfg, mcounteren.
const CSRS: [u16; 11] = [
    0x300, 0x304, 0x305, 0x302, 0x303, 0x105, 0x180, 0x3a0, 0x3b0, 0x30a, 0x306,
];
/// Every major opcode.
const OPCODES: [u32; 19] = [
    0x03, 0x07, 0x0f, 0x13, 0x17, 0x1b, 0x23, 0x27, 0x2f, 0x33, 0x37, 0x3b, 0x43, 0x4f, 0x53, 0x63,
    0x67, 0x6f, 0x73,
];

/// Execute what the input holds.
pub fn run(input: &mut Unstructured<'_>) -> Result<()> {
    let mut memory = vec![0_u64; (SIZE + FENCE + 4096) / 8];
    let start = memory.as_mut_ptr().cast::<u8>();
    let pointer = start.wrapping_add(start.align_offset(4096));
    // SAFETY: the vector is longer than RAM with its alignment, is used through `ram` and, behind it,
    // the fence alone, and outlives the hart.
    let ram = unsafe { Ram::new(pointer, BASE, SIZE as u64) };
    let mut hart = Hart::new(ram, 0, Time::Instructions { hz: 1, per_tick: 3 });
    hart.reset(BASE + 0x1000, 0, 0);
    set_up(&mut hart, input)?;
    let kick = AtomicBool::new(false);
    let mut left = BUDGET;
    for _ in 0..EXITS {
        let before = hart.instret();
        let exit = hart.run(left, &kick);
        let retired = hart.instret().wrapping_sub(before);
        assert!(retired <= left, "the budget holds");
        left -= retired;
        match exit {
            Exit::Budget => break,
            Exit::Access(access) => {
                assert!(!hart.ram().contains(access.address, access.width.into()));
                assert_eq!(access.address % u64::from(access.width), 0);
                hart.answer(input.arbitrary::<Option<u64>>()?.ok_or(()));
            }
            Exit::Wfi { deadline } => hart.sleep_until(deadline.unwrap_or(0)),
            other => panic!("{other:?} without a point or a kick"),
        }
        assert_eq!(hart.x(0), 0);
        assert_eq!(hart.pc() & 1, 0);
    }
    drop(hart);
    let behind = (pointer.addr() - memory.as_ptr().addr() + SIZE) / 8;
    assert!(memory[behind..][..FENCE / 8].iter().all(|word| *word == 0));
    Ok(())
}

/// Code in all of RAM, page tables among it, and registers that point there.
fn set_up(hart: &mut Hart, input: &mut Unstructured<'_>) -> Result<()> {
    hart.set_csr(0x3bf, u64::MAX); // PMP entry 15 covers all addresses.
    hart.set_csr(0x3a2, 0x1f << 56);
    for number in CSRS {
        if input.ratio(1, 2)? {
            let value = value(input)?;
            hart.set_csr(number, value);
        }
    }
    if input.arbitrary()? {
        hart.set_csr(0x180, 8 << 60 | BASE >> 12);
    }
    for register in 1..32 {
        let value = value(input)?;
        hart.set_x(register, value);
    }
    let count = input.int_in_range(1..=64_u64)?;
    for place in 0..count {
        let word = word(input)?;
        for page in (0..SIZE as u64).step_by(4096) {
            assert!(hart.ram().store(BASE + page + 4 * place, 4, word.into()));
        }
    }
    let first = BASE + 0x1000 + if input.ratio(1, 4)? { 2 } else { 0 };
    hart.set_pc(first);
    Ok(())
}

/// Mostly an instruction, at times rubbish.
fn word(input: &mut Unstructured<'_>) -> Result<u32> {
    let any: u32 = input.arbitrary()?;
    Ok(if input.ratio(3, 4)? {
        any & !0x7f | *input.choose(&OPCODES)?
    } else {
        any
    })
}

/// Near RAM, near the ends of the address space, and any.
fn value(input: &mut Unstructured<'_>) -> Result<u64> {
    Ok(match input.int_in_range(0..=5_u8)? {
        0 => input.arbitrary()?,
        1 => BASE + SIZE as u64 - u64::from(input.arbitrary::<u8>()? % 64),
        2 => u64::from(input.arbitrary::<u8>()?).wrapping_sub(32),
        _ => BASE + u64::from(input.arbitrary::<u16>()?),
    })
}
