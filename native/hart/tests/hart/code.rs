//! Code that changes: by the hart itself, by others with FENCE.I, a new address space or `flush`.

use virtmesh_hart::{Hart, Time};

use crate::asm::{FENCE_I, NOP, addi, jal, jalr, store};
use crate::csrs::SATP;
use crate::machine::{BASE, CODE, Machine};

const OTHER: u64 = BASE + 0x5000;

/// `code` on the page OTHER was executed once and added 1 to x6.
fn executed_once() -> Machine {
    let mut m = Machine::new();
    m.write32(OTHER, &[addi(6, 6, 1), jal(0, 0)]);
    m.hart.set_pc(OTHER);
    m.step(2);
    assert_eq!(m.hart.x(6), 1);
    m
}

#[test]
fn own_store_is_seen_at_the_next_instruction() {
    let mut m = Machine::with_code(&[store(2, 5, 7, 0), NOP, addi(6, 6, 1), NOP]);
    m.hart.set_x(5, CODE + 8);
    m.hart.set_x(7, addi(6, 6, 100).into());

    m.step(4);

    assert_eq!(m.hart.x(6), 100);
}

#[test]
fn own_misaligned_store_is_seen_at_the_next_instruction() {
    // The upper half of an instruction in front of which a byte stays as it is.
    let mut m = Machine::with_code(&[store(2, 5, 7, 0), store(2, 5, 7, 0), addi(6, 6, 1), NOP]);
    m.hart.set_x(5, CODE + 9);
    m.hart.set_x(7, (addi(6, 6, 100) >> 8 | 0x1300_0000).into());

    m.step(4);

    assert_eq!(m.hart.x(6), 100);
}

#[test]
fn own_store_to_another_decoded_page_is_seen() {
    let mut m = executed_once();
    m.write32(CODE, &[store(2, 5, 7, 0), jalr(0, 5, 0)]);
    m.hart.set_x(5, OTHER);
    m.hart.set_x(7, addi(6, 6, 100).into());
    m.hart.set_pc(CODE);

    m.step(3);

    assert_eq!(m.hart.x(6), 101);
}

#[test]
fn own_store_is_seen_each_time_the_code_is_executed_between() {
    let mut m = executed_once();
    m.write32(
        CODE,
        &[
            store(2, 5, 7, 0),
            jalr(1, 5, 0),
            store(2, 5, 8, 0),
            jalr(1, 5, 0),
            jal(0, -16),
        ],
    );
    m.write32(OTHER + 4, &[jalr(0, 1, 0)]);
    m.hart.flush();
    m.hart.set_x(5, OTHER);
    m.hart.set_x(7, addi(6, 6, 100).into());
    m.hart.set_x(8, addi(6, 6, 1000).into());
    m.hart.set_pc(CODE);

    m.step(9 * 5);

    assert_eq!(m.hart.x(6), 1 + 5 * 1100);
}

#[test]
fn others_stores_are_seen_after_fence_i() {
    let mut m = executed_once();
    m.write32(OTHER, &[addi(6, 6, 100)]);
    m.write32(CODE, &[FENCE_I, jalr(0, 5, 0)]);
    m.hart.set_x(5, OTHER);
    m.hart.set_pc(CODE);

    m.step(3);

    assert_eq!(m.hart.x(6), 101);
}

#[test]
fn others_stores_are_seen_after_flush() {
    let mut m = executed_once();
    m.write32(OTHER, &[addi(6, 6, 100)]);

    m.hart.flush();
    m.hart.set_pc(OTHER);
    m.step(1);

    assert_eq!(m.hart.x(6), 101);
}

#[test]
fn others_stores_are_seen_after_a_change_of_address_space() {
    let mut m = executed_once();
    m.write32(OTHER, &[addi(6, 6, 100)]);

    m.set_csr(SATP, 1);
    m.hart.set_pc(OTHER);
    m.step(1);

    assert_eq!(m.hart.x(6), 101);
}

#[test]
fn jump_into_the_middle_of_an_instruction_decodes_what_stands_there() {
    // lui x5, 0x00893: bytes 2 and 3 are 0x0089, C.ADDI x1, 2 with rd x1.
    let mut m = Machine::with_code(&[0x0089_32b7, jal(0, -2)]);

    m.step(3);

    assert_eq!(m.hart.x(5), 0x89_3000);
    assert_eq!(m.hart.x(1), 2);
    assert_eq!(m.hart.pc(), CODE + 4);
}

#[test]
fn instruction_on_two_pages_is_executed() {
    let mut m = Machine::new();
    let end = CODE + 0xffe;
    let word = addi(6, 6, 7);
    assert!(m.hart.ram().store(end, 2, word.into()));
    assert!(m.hart.ram().store(end + 2, 2, (word >> 16).into()));
    m.write32(end + 4, &[0x0001_0001]);
    m.hart.set_pc(end);

    m.step(2);

    assert_eq!((m.hart.x(6), m.hart.pc()), (7, end + 6));
}

#[test]
fn data_beside_code_changes_without_effect_on_it() {
    let mut m = Machine::with_code(&[store(3, 5, 6, 0), addi(6, 6, 1), jal(0, -8)]);
    m.hart.set_x(5, CODE + 0x800);

    m.step(3000);

    assert_eq!(m.read64(CODE + 0x800), 999);
    assert_eq!(m.hart.x(6), 1000);
}

#[test]
fn more_pages_of_code_than_are_kept_are_executed_all_the_same() {
    const PAGES: u64 = 5000;
    let time = Time::Real { hz: 1 };
    let mut m = Machine::with(time, (PAGES + 2) * 4096);
    let last = CODE + (PAGES - 1) * 4096;
    for page in 0..PAGES {
        m.write32(CODE + page * 4096, &[addi(5, 5, 1), jal(0, 4092)]);
    }
    m.write32(last + 4, &[addi(6, 6, 1), jalr(0, 7, 0)]);
    m.hart.set_x(7, CODE);

    m.step(2 * (PAGES * 2 + 1));

    assert_eq!(m.hart.x(5), 2 * PAGES);
    assert_eq!(m.hart.x(6), 2);
}

#[test]
fn a_hart_can_move_to_another_thread() {
    fn assert_send<T: Send>() {}
    assert_send::<Hart>();
}
