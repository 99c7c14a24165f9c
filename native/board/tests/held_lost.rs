//! Held writes whose device is lost, or does not take them.

mod common;

use std::sync::mpsc::channel;
use std::thread;

use common::Request;
use common::assembler::*;
use common::held::*;
use common::machine::*;
use virtmesh_board::{Board, Operation, Reason, Rule};

/// A board whose device ended the connection when it got two held writes and a read.
fn lost() -> Board {
    let program = then_poweroff(after_two_writes(&[lw(A0, 0x34, T0)]));
    let mut board = board(Rule::Spec, &program);
    let device = Device::start(|request: &Request| {
        request.accesses.is_empty().then(|| answer_all(request, 0))
    });
    device.connect(&mut board, 0, &[]);
    let exit = run(&mut board);
    assert_eq!((exit.reason, exit.slot), (Reason::Lost, Some(0)));
    assert_eq!(
        board.check_slot(0).unwrap().saved.writes(),
        [],
        "none is executed"
    );
    device.join();
    board
}

#[test]
fn a_device_in_place_of_one_that_is_lost_gets_them_once() {
    let mut board = lost();
    assert_eq!(run(&mut board).reason, Reason::Lost, "they wait for it");
    let new = Device::with_value(7);
    new.connect(&mut board, 0, &[]);
    assert_eq!(run(&mut board).reason, Reason::PowerOff);
    assert_eq!(requests(&new).concat(), two_and((0x34, 4, 0)));
    assert_eq!(board.check_slot(0).unwrap().saved.writes().len(), 2);
    assert_eq!(board.hart().x(10), 7);
    assert_eq!(board.stats().mmio_accesses.get(), 3);
}

#[test]
fn a_slot_that_is_absent_or_a_board_that_is_reset_forgets_them() {
    let mut absent = lost();
    absent.disconnect(0, true);
    assert_eq!(run(&mut absent).reason, Reason::PowerOff);

    let mut reset = lost();
    reset.reset(RAM + 0x14, 0, 0);
    let new = Device::with_value(7);
    new.connect(&mut reset, 0, &[]);
    assert_eq!(run(&mut reset).reason, Reason::PowerOff);
    assert_eq!(requests(&new).len(), 0);
}

#[test]
fn a_kick_is_told_soon_though_the_device_does_not_take_them() {
    let mut board = board(Rule::Spec, &after_two_writes(&[j(0)]));
    let (release, released) = channel::<()>();
    let (asked, is_asked) = channel();
    let device = Device::start(move |request| {
        if !request.accesses.is_empty() {
            // Only the first request is waited for, and released.
            let _ = asked.send(());
            let _ = released.recv();
        }
        Some(answer_all(request, 7))
    });
    device.connect(&mut board, 0, &[]);
    let notifier = board.notifier();
    thread::scope(|scope| {
        scope.spawn(move || {
            is_asked.recv().unwrap();
            notifier.stop();
        });
        assert_eq!(run(&mut board).reason, Reason::Kick);
    });
    drop(release);
    // From outside, they come first.
    assert_eq!(board.execute(0, Operation::read(0x70, 4)).unwrap(), 7);
    assert_eq!(requests(&device), [TWO.to_vec(), vec![(0x70, 4, 0)]]);
}
