//! Kicks in every state of a run, and devices that go away.

mod common;

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use common::assembler::*;
use common::machine::*;
use common::{Answer, receive};
use virtmesh_board::{Board, Operation, Reason, Rule};

/// Write 3 to Status, read it into a0, and power off.
fn write_and_read() -> Vec<u32> {
    let mut program = vec![lui(T0, SLOT_UPPER), addi(A1, ZERO, 3), sw(A1, 0x70, T0)];
    program.push(lw(A0, 0x70, T0));
    program.extend(poweroff());
    program
}

/// Kick the board from another thread while it runs.
fn kicked(board: &mut Board) -> Reason {
    let notifier = board.notifier();
    thread::scope(|scope| {
        scope.spawn(move || notifier.stop());
        run(board).reason
    })
}

#[test]
fn a_kick_ends_a_guest_that_spins() {
    let mut board = board(Rule::Spec, &[j(0)]);
    assert_eq!(kicked(&mut board), Reason::Kick);
}

#[test]
fn a_kick_ends_a_guest_that_sleeps_for_ever() {
    let mut board = board(Rule::Spec, &[WFI, j(-4)]);
    assert_eq!(kicked(&mut board), Reason::Kick);
}

#[test]
fn a_kick_before_the_run_ends_it_and_only_it() {
    let mut board = board(Rule::Spec, &poweroff());
    board.notifier().stop();
    assert_eq!(run(&mut board).reason, Reason::Kick);
    assert_eq!(run(&mut board).reason, Reason::PowerOff);
}

#[test]
fn a_kick_ends_the_wait_for_a_device_and_the_next_run_takes_its_answer() {
    let mut board = board(Rule::Spec, &write_and_read());
    let (asked, is_asked) = channel();
    let (release, released) = channel::<()>();
    let device = Device::start(move |request| {
        if request
            .accesses
            .first()
            .is_some_and(|access| access.1 == 0x84)
        {
            asked.send(()).unwrap();
            released.recv().unwrap();
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
    assert_eq!(board.stats().mmio_accesses.get(), 0);
    release.send(()).unwrap();
    assert_eq!(run(&mut board).reason, Reason::PowerOff);
    let writes = device
        .requests
        .try_iter()
        .flat_map(|request| request.accesses);
    assert_eq!(
        writes.filter(|access| access.1 == 0x84).count(),
        1,
        "it is not written again"
    );
    assert_eq!(board.hart().x(10), 7);
}

#[test]
fn kicks_at_any_moment_lose_and_repeat_nothing() {
    // Write a2 to a register, and add 1 to it, for ever.
    let program = [
        lui(T0, SLOT_UPPER),
        sw(A2, 0x70, T0),
        addi(A2, A2, 1),
        j(-8),
    ];
    let mut board = board(Rule::Spec, &program);
    let device = Device::with_value(0);
    device.connect(&mut board, 0, &[]);
    let (notifier, stats) = (board.notifier(), board.stats());
    thread::scope(|scope| {
        scope.spawn(move || {
            while stats.mmio_accesses.get() < 2000 {
                notifier.stop();
                thread::yield_now();
            }
        });
        while board.stats().mmio_accesses.get() < 2000 {
            assert_eq!(board.run(1000, &mut || false).slot, None);
        }
    });
    let writes = device
        .requests
        .try_iter()
        .flat_map(|request| request.accesses);
    assert!(writes.map(|access| access.2).take(2000).eq(0..2000));
}

#[test]
fn a_device_that_signals_its_line_without_a_pause_does_not_stop_the_guest() {
    let mut board = board(Rule::Spec, &[j(0)]);
    let device = Device::with_value(0);
    device.connect(&mut board, 0, &[]);
    let ends = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !ends.load(std::sync::atomic::Ordering::Relaxed) {
                device.line.signal();
            }
        });
        assert_eq!(board.run(20_000, &mut || false).reason, Reason::Budget);
        ends.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn an_access_from_outside_waits_for_that_of_the_guest() {
    let mut board = board(Rule::Spec, &write_and_read());
    let (asked, is_asked) = channel();
    let (release, released) = channel::<()>();
    let device = Device::start(move |request| {
        if request
            .accesses
            .first()
            .is_some_and(|access| access.1 == 0x84)
        {
            asked.send(()).unwrap();
            released.recv().unwrap();
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
    release.send(()).unwrap();
    assert_eq!(board.execute(0, Operation::read(0x70, 4)).unwrap(), 7);
    assert_eq!(run(&mut board).reason, Reason::PowerOff);
    let writes = device
        .requests
        .try_iter()
        .flat_map(|request| request.accesses);
    assert_eq!(writes.filter(|access| access.1 == 0x84).count(), 1);
}

#[test]
fn a_device_that_dies_in_an_access_is_lost_and_a_new_one_takes_the_access() {
    let mut board = board(Rule::Spec, &write_and_read());
    let dies = Device::start(|request| request.accesses.is_empty().then(Answer::default));
    dies.connect(&mut board, 0, &[]);
    let exit = run(&mut board);
    assert_eq!(
        (exit.reason, exit.slot, exit.pc),
        (Reason::Lost, Some(0), RAM + 8)
    );
    assert!(exit.message.contains("ended"), "{}", exit.message);
    // Still lost, until there is another.
    assert_eq!(run(&mut board).reason, Reason::Lost);
    let device = Device::with_value(3);
    device.connect(&mut board, 0, &[]);
    assert_eq!(run(&mut board).reason, Reason::PowerOff);
    assert_eq!(board.hart().x(10), 3);
    let writes = device
        .requests
        .try_iter()
        .flat_map(|request| request.accesses);
    assert_eq!(writes.collect::<Vec<_>>(), [(0x70, 0x84, 3), (0x70, 4, 0)]);
}

#[test]
fn a_device_that_lies_is_lost() {
    let mut board = board(Rule::Spec, &write_and_read());
    let lies = Device::start(|_| {
        Some(Answer {
            values: vec![1, 2, 3],
            ..Answer::default()
        })
    });
    lies.connect(&mut board, 0, &[]);
    let exit = run(&mut board);
    assert_eq!(exit.reason, Reason::Lost);
    assert!(exit.message.contains("malformed"), "{}", exit.message);
}

#[test]
fn a_device_that_owes_an_answer_for_too_long_is_lost() {
    let mut board = board(Rule::Spec, &write_and_read());
    board.set_answer_limit(Duration::from_millis(20));
    let (silent, other) = common::pair();
    let line = virtmesh_device::EventFd::new().unwrap();
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(&line));
    let channel = std::os::fd::AsFd::as_fd(&silent);
    board.connect(0, channel, descriptor, &[]).unwrap();
    let exit = run(&mut board);
    assert_eq!(exit.reason, Reason::Lost);
    assert!(exit.message.contains("did not answer"), "{}", exit.message);
    drop((receive(&other), other));
}

#[test]
fn the_end_of_a_device_is_told_while_the_guest_sleeps() {
    let mut board = board(Rule::Spec, &[WFI, j(-4)]);
    let (end, ends) = channel::<()>();
    let device = Device::start(move |_| {
        ends.recv().unwrap();
        None
    });
    device.connect(&mut board, 0, &[]);
    thread::scope(|scope| {
        scope.spawn(|| end.send(()).unwrap());
        let exit = run(&mut board);
        assert_eq!((exit.reason, exit.slot), (Reason::Lost, Some(0)));
    });
    // The guest goes on sleeping: it has not touched the slot.
    assert_eq!(kicked(&mut board), Reason::Kick);
}

#[test]
fn a_device_that_is_absent_ends_no_run() {
    let mut board = board(Rule::Spec, &write_and_read());
    let device = Device::with_value(3);
    device.connect(&mut board, 0, &[]);
    board.disconnect(0, false);
    assert_eq!(run(&mut board).reason, Reason::Lost);
    board.disconnect(0, true);
    assert_eq!(run(&mut board).reason, Reason::PowerOff);
    assert_eq!(board.hart().x(10), 0);
    device.join();
}
