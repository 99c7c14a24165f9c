//! A board whose slots are all in use.

mod common;

use std::thread;

use common::assembler::*;
use common::machine::*;
use virtmesh_board::{Board, Kind, Reason, Rule};

/// The last slot: each needs an interrupt of its own, and the PLIC has 127.
const LAST: usize = 126;
/// Its window, as a number for `lui`.
const LAST_UPPER: u32 = SLOT_UPPER + 126;

/// A board with 127 slots.
fn full_board(program: &[u32]) -> Board {
    let mut board = board(Rule::Spec, program);
    for slot in 1..=LAST {
        let address = SLOT + 0x1000 * slot as u64;
        assert_eq!(
            board.add_slot(address, 0x1000, slot + 1, Kind::Virtio),
            Ok(slot)
        );
    }
    board
}

#[test]
fn the_guest_reaches_the_first_and_the_last_device() {
    let mut program = vec![lui(T0, SLOT_UPPER), lw(A0, 0x70, T0)];
    program.extend([lui(T0, LAST_UPPER), lw(A1, 0x70, T0)]);
    program.extend(poweroff());
    let mut board = full_board(&program);
    let (first, last) = (Device::with_value(1), Device::with_value(2));
    first.connect(&mut board, 0, &[]);
    last.connect(&mut board, LAST, &[]);
    assert_eq!(run(&mut board).reason, Reason::PowerOff);
    assert_eq!((board.hart().x(10), board.hart().x(11)), (1, 2));
}

#[test]
fn a_line_of_the_last_slot_is_asked_for_while_the_guest_spins_and_while_it_sleeps() {
    for program in [vec![j(0)], vec![WFI, j(-4)]] {
        let mut board = full_board(&program);
        let device = Device::with_value(0);
        device.connect(&mut board, LAST, &[]);
        let (line, requests, notifier) = (device.line, device.requests, board.notifier());
        thread::scope(|scope| {
            scope.spawn(move || {
                requests.recv().unwrap(); // As it is connected.
                line.signal();
                requests.recv().unwrap();
                notifier.stop();
            });
            assert_eq!(run(&mut board).reason, Reason::Kick);
        });
    }
}

#[test]
fn a_device_of_the_last_slot_that_dies_is_lost() {
    let mut board = full_board(&[j(0)]);
    let device = Device::start(|_| None);
    device.connect(&mut board, LAST, &[]);
    let exit = run(&mut board);
    assert_eq!((exit.reason, exit.slot), (Reason::Lost, Some(LAST)));
    board.disconnect(LAST, true);
    device.join();
}
