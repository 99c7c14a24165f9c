//! Writes that are held, and what sends them.

mod common;

use std::os::fd::{AsFd, AsRawFd};
use std::sync::mpsc::channel;
use std::thread;

use common::assembler::*;
use common::held::*;
use common::machine::*;
use common::{Answer, REFUSED};
use virtmesh_board::{Kind, Reason, Rule};
use virtmesh_device::EventFd;

/// Run the program with a device that answers 7; returns the requests.
fn requests_of(program: &[u32]) -> Vec<Vec<(u32, u8, u64)>> {
    let mut board = board(Rule::Spec, program);
    let device = Device::with_value(7);
    device.connect(&mut board, 0, &[]);
    assert_eq!(run(&mut board).reason, Reason::PowerOff);
    requests(&device)
}

fn is_readable(event: &impl AsFd) -> bool {
    let mut polled = libc::pollfd {
        fd: event.as_fd().as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: the structure is valid.
    unsafe { libc::poll(&raw mut polled, 1, 0) > 0 }
}

/// A device that refuses writes to a register, and reads of it.
fn refusing(offset: u32) -> Device {
    Device::start(move |request| {
        let executed = request.accesses.iter().position(|one| one.0 == offset);
        let values = executed.unwrap_or(request.accesses.len());
        Some(Answer {
            flags: if executed.is_some() { REFUSED } else { 0 },
            text: executed.map_or(vec![], |_| b"BAD_VALUE\0no".to_vec()),
            values: vec![7; values],
            ..Answer::default()
        })
    })
}

#[test]
fn writes_go_out_with_the_read_after_them() {
    let program = then_poweroff(after_two_writes(&[lw(A0, 0x34, T0)]));
    let mut board = board(Rule::Spec, &program);
    let device = Device::start(|request| {
        let values = request.accesses.iter().map(|access| u64::from(access.0));
        Some(Answer {
            values: values.collect(),
            ..Answer::default()
        })
    });
    device.connect(&mut board, 0, &[]);
    board.log().set_on(true);
    assert_eq!(run(&mut board).reason, Reason::PowerOff);
    assert_eq!(requests(&device), [two_and((0x34, 4, 0))]);
    assert_eq!(board.hart().x(10), 0x34, "the value is that of the read");
    let logged = board.log().drain_accesses();
    let at: Vec<_> = logged.iter().map(|one| one.pc - RAM).collect();
    assert_eq!(at, [8, 12, 16], "each has its own place in the code");
    assert!(logged.is_sorted_by_key(|one| one.time_ns));
    assert_eq!(board.stats().mmio_accesses.get(), 3);
}

#[test]
fn what_acts_or_moves_the_line_is_not_held() {
    for offset in [0x44, 0x50, 0x64, 0x70, 0xC0, 0x100, 0x120] {
        let rest = [sw(A1, offset, T0), lw(A0, 0x34, T0)];
        let found = requests_of(&then_poweroff(after_two_writes(&rest)));
        let acting = two_and((offset.cast_unsigned(), WRITE, 1));
        assert_eq!(found, [acting, vec![(0x34, 4, 0)]], "{offset:#x}");
    }
}

#[test]
fn a_serial_port_holds_all_but_its_interrupt_enables() {
    let mut program = vec![lui(T0, 0x10000), addi(A1, ZERO, 0x41)];
    program.extend([sb(A1, 0, T0), sb(A1, 3, T0), sb(A1, 1, T0), sb(A1, 0, T0)]);
    program.push(lbu(A0, 5, T0));
    let mut board = board(Rule::Spec, &then_poweroff(program));
    let slot = board.add_slot(0x1000_0000, 0x100, 10, Kind::Uart { shift: 0 });
    let device = Device::with_value(7);
    device.connect(&mut board, slot.unwrap(), &[]);
    assert_eq!(run(&mut board).reason, Reason::PowerOff);
    let write = |place| (place, 0x81, 0x41);
    let first = vec![write(0), write(3), write(1)];
    assert_eq!(requests(&device), [first, vec![write(0), (5, 1, 0)]]);
}

#[test]
fn a_window_of_no_known_kind_and_one_with_quirks_hold_nothing() {
    use virtmesh_board::quirks::Level;
    let program = then_poweroff(after_two_writes(&[lw(A0, 0x34, T0)]));
    let mut lenient = board(Rule::Spec, &program);
    lenient.set_quirks(0, Some(Level::Lenient));
    let device = Device::with_value(7);
    device.connect(&mut lenient, 0, &[]);
    assert_eq!(run(&mut lenient).reason, Reason::PowerOff);
    assert_eq!(requests(&device).len(), 3);

    let program = [lui(T0, 0x20000), sw(ZERO, 0, T0), sw(ZERO, 4, T0)];
    let mut other = board(Rule::Spec, &then_poweroff(program.to_vec()));
    let slot = other.add_slot(0x2000_0000, 0x1000, 20, Kind::Other);
    let device = Device::with_value(7);
    device.connect(&mut other, slot.unwrap(), &[]);
    assert_eq!(run(&mut other).reason, Reason::PowerOff);
    assert_eq!(requests(&device).len(), 2);
}

#[test]
fn the_end_of_a_run_sends_them_before_it_is_told() {
    assert_eq!(requests_of(&then_poweroff(after_two_writes(&[]))), [TWO]);

    let mut stepped = board(Rule::Spec, &after_two_writes(&[j(0)]));
    let device = Device::with_value(0);
    device.connect(&mut stepped, 0, &[]);
    assert_eq!(stepped.run(3, &mut || false).reason, Reason::Budget);
    assert_eq!(requests(&device), [[TWO[0]]]);

    let mut broken = board(Rule::Spec, &after_two_writes(&[j(0)]));
    let device = Device::with_value(0);
    device.connect(&mut broken, 0, &[]);
    broken.hart().set_breakpoints(&[RAM + 16]);
    assert_eq!(run(&mut broken).reason, Reason::Breakpoint);
    assert_eq!(requests(&device), [TWO]);
    let saved = broken.check_slot(0).unwrap().saved.writes();
    assert_eq!(saved.len(), 2, "{saved:?}");
}

#[test]
fn a_guest_that_spins_has_its_writes_sent() {
    let mut board = board(Rule::Spec, &after_two_writes(&[j(0)]));
    let (seen, is_seen) = channel();
    let device = Device::start(move |request| {
        if !request.accesses.is_empty() {
            seen.send(request.accesses.clone()).unwrap();
        }
        Some(answer_all(request, 0))
    });
    device.connect(&mut board, 0, &[]);
    let notifier = board.notifier();
    thread::scope(|scope| {
        let sent = scope.spawn(move || {
            let sent = is_seen.recv().unwrap();
            notifier.stop();
            sent
        });
        // It has no exit of its own: only time sends the writes, and only they end the run.
        assert_eq!(run(&mut board).reason, Reason::Kick);
        assert_eq!(sent.join().unwrap(), TWO);
    });
}

#[test]
fn a_guest_that_sleeps_has_its_writes_sent_and_sees_their_interrupt() {
    // Enable source 1 for machine mode; write twice; sleep; the interrupt powers off.
    let mut program = vec![auipc(T0, 0), addi(T0, T0, 0x100), csrw(MTVEC, T0)];
    program.extend([lui(T0, 0xC000), addi(T1, ZERO, 1), sw(T1, 4, T0)]);
    program.extend([lui(T0, 0xC002), addi(T1, ZERO, 2), sw(T1, 0, T0)]);
    program.extend([addi(T2, ZERO, 0x7FF), addi(T2, T2, 1), csrw(MIE, T2)]);
    program.extend([addi(T2, ZERO, 8), csrw(MSTATUS, T2)]);
    program.extend(after_two_writes(&[WFI, j(-4)]));
    program.resize(0x40, j(0));
    program.extend(poweroff());
    let mut board = board(Rule::Spec, &program);
    let device = Device::start(|request| {
        // Its line rises with the writes, and no eventfd tells of that.
        let flags = u32::from(!request.accesses.is_empty());
        let sequence = u64::from(flags);
        Some(Answer {
            flags,
            sequence,
            ..answer_all(request, 0)
        })
    });
    device.connect(&mut board, 0, &[]);
    assert_eq!(run(&mut board).reason, Reason::PowerOff);
    assert_eq!(requests(&device), [TWO]);
}

#[test]
fn a_notification_comes_after_them() {
    let mut program = after_two_writes(&[sw(ZERO, 0x50, T0)]);
    program.extend(poweroff());
    let mut board = board(Rule::Spec, &program);
    let kick = EventFd::new().unwrap();
    let seen = kick.as_fd().try_clone_to_owned().unwrap();
    let (early, was_early) = channel();
    let device = Device::start(move |request| {
        if !request.accesses.is_empty() {
            early.send(is_readable(&seen)).unwrap();
        }
        Some(answer_all(request, 0))
    });
    device.connect(&mut board, 0, &[&kick]);
    assert_eq!(run(&mut board).reason, Reason::PowerOff);
    assert_eq!(requests(&device), [TWO]);
    assert_eq!(was_early.try_iter().collect::<Vec<_>>(), [false]);
    assert!(is_readable(&kick));
    assert_eq!(board.stats().notifications.get(), 1);
}

#[test]
fn an_access_of_the_plic_or_of_another_slot_sends_them() {
    let plic = [lui(T1, 0xC200), lw(A0, 4, T1), lw(A0, 0x34, T0)];
    let found = requests_of(&then_poweroff(after_two_writes(&plic)));
    assert_eq!(found, [TWO.to_vec(), vec![(0x34, 4, 0)]]);

    let other = [lui(T1, 0x10002), lw(A0, 0, T1)];
    let mut board = board(Rule::Spec, &then_poweroff(after_two_writes(&other)));
    let second = board
        .add_slot(0x1000_2000, 0x1000, 2, Kind::Virtio)
        .unwrap();
    let device = Device::with_value(7);
    device.connect(&mut board, 0, &[]);
    let (sent, is_sent) = channel();
    let peer = Device::start(move |request| {
        if !request.accesses.is_empty() {
            sent.send(()).unwrap();
        }
        Some(answer_all(request, 9))
    });
    peer.connect(&mut board, second, &[]);
    assert_eq!(run(&mut board).reason, Reason::PowerOff);
    assert_eq!(requests(&device), [TWO], "in a request of their own");
    assert_eq!(is_sent.try_iter().count(), 1);
    assert_eq!(board.hart().x(10), 9);
}

#[test]
fn no_more_are_held_than_fit_a_short_request() {
    // Write to QueueSel, and add 1 to it, 200 times.
    let mut program = vec![lui(T0, SLOT_UPPER)];
    program.extend((0..200).flat_map(|index| [addi(A1, ZERO, index), sw(A1, 0x30, T0)]));
    let found = requests_of(&then_poweroff(program));
    assert!(found.iter().all(|accesses| accesses.len() <= 65));
    assert!(found.len() < 50, "{} requests", found.len());
    let values = found.concat().into_iter().map(|access| access.2);
    assert!(values.eq(0..200));
}

#[test]
fn a_held_write_that_is_refused_is_named_and_the_rest_executed() {
    let program = then_poweroff(after_two_writes(&[sw(A1, 0xAC, T0), lw(A0, 0x34, T0)]));
    let mut board = board(Rule::Spec, &program);
    let device = refusing(FEATURES_SEL);
    device.connect(&mut board, 0, &[]);
    assert_eq!(run(&mut board).reason, Reason::PowerOff);
    assert_eq!(board.hart().x(10), 7);
    let violations = board.log().violations();
    assert_eq!(violations.len(), 1);
    let violation = &violations[0];
    assert_eq!(
        (
            violation.reason.as_str(),
            violation.pc,
            violation.address,
            violation.op,
            violation.value
        ),
        ("BAD_VALUE", RAM + 12, u64::from(FEATURES_SEL), 4 | WRITE, 1)
    );
    let found = requests(&device);
    assert_eq!(found.len(), 2);
    assert_eq!(
        found[1],
        [(0xAC, WRITE, 1), (0x34, 4, 0)],
        "what comes after it"
    );
    let saved = board.check_slot(0).unwrap().saved.writes();
    assert!(
        saved.iter().all(|write| write.offset != FEATURES_SEL),
        "{saved:?}"
    );
    assert_eq!(board.stats().mmio_refused.get(), 1);
}

#[test]
fn a_read_that_is_refused_after_held_writes_gives_0() {
    let program = then_poweroff(after_two_writes(&[lw(A0, 0x34, T0)]));
    let mut board = board(Rule::Spec, &program);
    let device = refusing(0x34);
    device.connect(&mut board, 0, &[]);
    board.hart().set_x(10, 99);
    assert_eq!(run(&mut board).reason, Reason::PowerOff);
    assert_eq!(board.hart().x(10), 0);
    let violations = board.log().violations();
    let at: Vec<_> = violations.iter().map(|one| one.pc - RAM).collect();
    assert_eq!(at, [16]);
    assert_eq!(board.check_slot(0).unwrap().saved.writes().len(), 2);
}
