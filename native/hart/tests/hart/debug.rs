//! Breakpoints and watchpoints.

use virtmesh_hart::Exit;

use crate::asm::{NOP, addi, amo, jal, load, store};
use crate::machine::{BASE, CODE, Machine};

const DATA: u64 = BASE + 0x8000;

#[test]
fn breakpoint_stops_before_its_instruction_and_then_lets_it_pass() {
    let mut m = Machine::with_code(&[NOP, addi(5, 5, 1), jal(0, -8)]);
    m.hart.set_breakpoints(&[CODE + 4, CODE + 0x100]);
    for turn in 0..3 {
        assert_eq!(m.run(1000), Exit::Breakpoint);
        assert_eq!((m.hart.pc(), m.hart.x(5)), (CODE + 4, turn));
    }

    m.hart.set_breakpoints(&[]);

    assert_eq!(m.run(1000), Exit::Budget);
}

#[test]
fn breakpoint_on_another_page_is_found() {
    let mut m = Machine::with_code(&[jal(0, 0x2000)]);
    m.write32(CODE + 0x2000, &[NOP; 4]);
    m.step(2);
    m.hart.set_pc(CODE);
    m.hart.set_breakpoints(&[CODE + 0x2008]);

    assert_eq!(m.run(1000), Exit::Breakpoint);

    assert_eq!(m.hart.pc(), CODE + 0x2008);
}

#[test]
fn breakpoint_at_a_device_access_stops_once() {
    let mut m = Machine::with_code(&[load(2, 6, 5, 0), jal(0, 0)]);
    m.hart.set_x(5, 0x1000_0000);
    m.hart.set_breakpoints(&[CODE]);

    assert_eq!(m.run(10), Exit::Breakpoint);
    assert!(matches!(m.run(10), Exit::Access(_)));
    m.hart.answer(Ok(3));
    assert_eq!(m.run(10), Exit::Budget);

    assert_eq!(m.hart.x(6), 3);
}

#[test]
fn breakpoint_at_an_instruction_on_two_pages_stops_once() {
    let mut m = Machine::new();
    let at = CODE + 0xffe;
    let word = addi(5, 5, 1);
    assert!(m.hart.ram().store(at, 2, word.into()));
    assert!(m.hart.ram().store(at + 2, 2, (word >> 16).into()));
    m.hart.set_pc(at);
    m.hart.set_breakpoints(&[at]);

    assert_eq!(m.run(1), Exit::Breakpoint);
    assert_eq!(m.run(1), Exit::Budget);

    assert_eq!((m.hart.x(5), m.hart.pc()), (1, at + 4));
}

#[test]
fn single_steps_pass_a_breakpoint_one_instruction_at_a_time() {
    let mut m = Machine::with_code(&[NOP, NOP, NOP]);
    m.hart.set_breakpoints(&[CODE + 4]);

    assert_eq!(m.run(1), Exit::Budget);
    assert_eq!(m.run(1), Exit::Breakpoint);
    assert_eq!(m.run(1), Exit::Budget);

    assert_eq!(m.hart.pc(), CODE + 8);
}

#[test]
fn watchpoint_stops_behind_the_access() {
    for (instruction, on_read, on_write) in [
        (load(0, 6, 5, 3), true, false),
        (store(0, 5, 6, 3), false, true),
        (load(3, 6, 5, 0), true, false),
        (load(1, 6, 5, 3), true, false),
        (amo(0, 2, 7, 5, 6), false, true),
    ] {
        let mut m = Machine::with_code(&[load(3, 7, 5, 64), instruction, NOP]);
        m.hart.set_x(5, DATA);
        m.hart.set_watchpoints(&[(DATA + 3, 1, on_read, on_write)]);

        assert_eq!(m.run(10), Exit::Watchpoint { address: DATA + 3 });

        assert_eq!((m.hart.pc(), m.hart.instret()), (CODE + 8, 2));
    }
}

#[test]
fn watchpoint_ignores_the_other_direction_and_neighbours() {
    let mut m = Machine::with_code(&[
        load(3, 6, 5, 0),
        store(3, 5, 6, 8),
        load(3, 6, 5, 16),
        store(3, 5, 6, 16),
    ]);
    m.hart.set_x(5, DATA);
    m.step(4);
    m.hart.set_pc(CODE);
    m.hart
        .set_watchpoints(&[(DATA, 8, false, true), (DATA + 8, 8, true, false)]);

    m.step(4);
}

#[test]
fn translate_without_page_table_is_the_identity() {
    let m = Machine::new();

    assert_eq!(m.hart.translate(DATA), Some(DATA));
}
