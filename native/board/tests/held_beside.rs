//! Writes that are held for one slot while the board has to do with another, or with none.

mod common;

use std::os::fd::{AsFd, AsRawFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use common::assembler::*;
use common::held::*;
use common::machine::*;
use virtmesh_board::{Board, Kind, Reason, Rule};
use virtmesh_device::EventFd;

/// Requests after which a device has seen the guest go on.
const MANY: usize = 50;

/// a1 += 1; `QueueSel` = a1; for ever: a write is held nearly always.
fn counting() -> Vec<u32> {
    vec![
        lui(T0, SLOT_UPPER),
        addi(A1, A1, 1),
        sw(A1, 0x30, T0),
        j(-8),
    ]
}

/// A device that tells of each request.
fn telling() -> (Device, Receiver<()>) {
    let (tell, told) = channel();
    let device = Device::start(move |request| {
        let _ = tell.send(());
        Some(answer_all(request, 0))
    });
    (device, told)
}

/// A device that signals its line at each request, until `answers` says that it is gone.
fn restless(mut answers: impl FnMut() -> bool + Send + 'static) -> Device {
    let event = EventFd::new().unwrap();
    let line = event.as_fd().try_clone_to_owned().unwrap();
    let mut device = Device::start(move |request| {
        if !answers() {
            return None;
        }
        let one = 1_u64.to_ne_bytes();
        // SAFETY: the bytes are valid for their length.
        unsafe { libc::write(line.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        Some(answer_all(request, 0))
    });
    device.line = event;
    device
}

/// A board with a counting guest at slot 0, and slot 1.
fn two_slots(first: &Device, second: &Device) -> Board {
    let mut board = board(Rule::Spec, &counting());
    board
        .add_slot(0x1000_2000, 0x1000, 2, Kind::Virtio)
        .unwrap();
    first.connect(&mut board, 0, &[]);
    second.connect(&mut board, 1, &[]);
    board
}

/// Run until the first device got so many more requests.
fn run_on(board: &mut Board, told: &mut Receiver<()>) {
    let notifier = board.notifier();
    thread::scope(|scope| {
        scope.spawn(move || {
            told.iter().take(MANY).for_each(drop);
            notifier.stop();
        });
        assert_eq!(run(board).reason, Reason::Kick);
    });
}

#[test]
fn none_is_lost_when_another_device_is_lost_that_was_asked_for_its_line() {
    let (first, mut told) = telling();
    let mut asked = 0;
    let second = restless(move || {
        asked += 1;
        asked <= MANY
    });
    let mut board = two_slots(&first, &second);
    let exit = run(&mut board);
    assert_eq!((exit.reason, exit.slot), (Reason::Lost, Some(1)));

    let _ = told.try_iter().count();
    run_on(&mut board, &mut told);

    let written: Vec<_> = requests(&first).concat().iter().map(|one| one.2).collect();
    let expected: Vec<_> = (1..=written.len() as u64).collect();
    assert_eq!(written, expected);
}

#[test]
fn a_kick_while_another_device_is_slow_to_tell_its_line_is_told_and_the_guest_goes_on() {
    let (first, mut told) = telling();
    let (slow, is_slow): (Sender<()>, _) = channel();
    let (release, released) = channel::<()>();
    let mut asked = 0;
    let second = restless(move || {
        asked += 1;
        if asked == MANY {
            slow.send(()).unwrap();
            let _ = released.recv();
        }
        true
    });
    let mut board = two_slots(&first, &second);
    let notifier = board.notifier();
    thread::scope(|scope| {
        scope.spawn(move || {
            is_slow.recv().unwrap();
            notifier.stop();
        });
        assert_eq!(run(&mut board).reason, Reason::Kick);
    });
    drop(release);

    let _ = told.try_iter().count();
    run_on(&mut board, &mut told);
}

/// A board that was stopped while its device had two writes and a read, or one write, of the guest.
fn stopped_within(program: &[u32]) -> (Board, Device) {
    let mut board = board(Rule::Spec, program);
    let (release, released) = channel::<()>();
    let (asked, is_asked) = channel();
    let device = Device::start(move |request| {
        if !request.accesses.is_empty() {
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
    (board, device)
}

#[test]
fn a_slot_that_becomes_absent_amid_a_request_keeps_none() {
    let program = then_poweroff(after_two_writes(&[lw(A0, 0x34, T0)]));
    let (mut board, _device) = stopped_within(&program);

    board.disconnect(0, true);

    assert_eq!(run(&mut board).reason, Reason::PowerOff);
}

#[test]
fn a_reset_amid_a_request_begins_with_nothing_saved() {
    let program = then_poweroff(after_two_writes(&[lw(A0, 0x34, T0)]));
    let (mut board, _device) = stopped_within(&program);

    board.reset(RAM + 0x14, 0, 0);

    assert_eq!(run(&mut board).reason, Reason::PowerOff);
    assert_eq!(board.check_slot(0).unwrap().saved.writes(), []);
}

#[test]
fn a_breakpoint_set_at_an_access_under_way_does_not_repeat_it() {
    let program = then_poweroff(vec![lui(T0, SLOT_UPPER), sw(A1, 0x70, T0)]);
    let (mut board, device) = stopped_within(&program);

    board.hart().set_breakpoints(&[RAM + 4]);
    let pc = board.hart().pc();
    board.hart().set_pc(pc);

    assert_eq!(run(&mut board).reason, Reason::PowerOff);
    assert_eq!(requests(&device).len(), 1);
}
