//! The run loop, with small programs in machine code and scripted devices.

mod common;

use std::sync::mpsc::channel;
use std::thread;

use common::assembler::*;
use common::machine::*;
use common::{Answer, LINE, REFUSED, Request};
use virtmesh_board::{Kind, Operation, Reason, Rule};
use virtmesh_device::EventFd;
use virtmesh_hart::Time;

/// Read Status of the slot into a0, and power off.
fn read_status() -> Vec<u32> {
    let mut program = vec![lui(T0, SLOT_UPPER), lw(A0, 0x70, T0)];
    program.extend(poweroff());
    program
}

#[test]
fn a_load_reads_the_register_of_the_device() {
    let mut board = board(Rule::Spec, &read_status());
    let device = Device::with_value(0x1_0000_000F);
    device.connect(&mut board, 0, &[]);
    board.log().set_on(true);
    assert_eq!(run(&mut board).reason, Reason::PowerOff);
    assert_eq!(board.hart().x(10), 0xF);
    let asked: Vec<Request> = device.requests.try_iter().collect();
    assert_eq!(asked[0].accesses, [], "the line is asked for first");
    assert_eq!(asked[1].accesses, [(0x70, 4, 0)]);
    let logged = board.log().drain_accesses();
    assert_eq!(logged.len(), 1);
    assert_eq!((logged[0].slot, logged[0].pc), (0, RAM + 4));
    let read = Operation {
        value: 0xF,
        ..Operation::read(0x70, 4)
    };
    assert_eq!(logged[0].operation, read);
}

#[test]
fn a_store_writes_the_register_of_the_device_and_is_saved() {
    let mut program = vec![lui(T0, SLOT_UPPER), addi(A0, ZERO, 3), sw(A0, 0x70, T0)];
    program.extend(poweroff());
    let mut board = board(Rule::Spec, &program);
    let device = Device::with_value(0);
    device.connect(&mut board, 0, &[]);
    assert_eq!(run(&mut board).reason, Reason::PowerOff);
    assert_eq!(
        device.requests.try_iter().last().unwrap().accesses,
        [(0x70, 0x84, 3)]
    );
    assert_eq!(
        board.check_slot(0).unwrap().saved.writes(),
        [Operation::write(0x70, 4, 3)]
    );
}

#[test]
fn a_refused_load_gives_0_and_is_a_violation() {
    let mut board = board(Rule::Spec, &read_status());
    let device = Device::start(|request| {
        let refused = !request.accesses.is_empty();
        Some(Answer {
            flags: if refused { REFUSED } else { 0 },
            text: if refused {
                b"NOT_READABLE\0no".to_vec()
            } else {
                vec![]
            },
            ..Answer::default()
        })
    });
    device.connect(&mut board, 0, &[]);
    board.hart().set_x(10, 99);
    assert_eq!(run(&mut board).reason, Reason::PowerOff);
    assert_eq!(board.hart().x(10), 0);
    let violations = board.log().violations();
    assert_eq!(violations.len(), 1);
    assert_eq!(
        (violations[0].reason.as_str(), violations[0].pc),
        ("NOT_READABLE", RAM + 4)
    );
    assert_eq!(board.stats().mmio_refused.get(), 1);
}

#[test]
fn a_notification_signals_its_eventfd_and_others_go_to_the_device() {
    let mut program = vec![lui(T0, SLOT_UPPER), addi(A0, ZERO, 1)];
    program.extend([sw(ZERO, 0x50, T0), sw(A0, 0x50, T0)]);
    program.extend(poweroff());
    let mut board = board(Rule::Spec, &program);
    let device = Device::with_value(0);
    let kick = EventFd::new().unwrap();
    device.connect(&mut board, 0, &[&kick]);
    assert_eq!(run(&mut board).reason, Reason::PowerOff);
    assert_eq!(board.stats().notifications.get(), 1);
    assert_eq!(
        device.requests.try_iter().last().unwrap().accesses,
        [(0x50, 0x84, 1)]
    );
    let [signalled] = virtmesh_device::wait_readable([std::os::fd::AsFd::as_fd(&kick)]).unwrap();
    assert!(signalled);
    assert_eq!(board.check_slot(0).unwrap().saved.writes(), []);
}

#[test]
fn an_empty_virtio_slot_is_a_placeholder() {
    let mut program = vec![
        lui(T0, SLOT_UPPER),
        lw(A0, 0, T0),
        lw(A1, 8, T0),
        sw(A0, 0x70, T0),
    ];
    program.extend(poweroff());
    let mut board = board(Rule::Spec, &program);
    board.hart().set_x(11, 99);
    assert_eq!(run(&mut board).reason, Reason::PowerOff);
    assert_eq!((board.hart().x(10), board.hart().x(11)), (0x7472_6976, 0));
}

#[test]
fn a_load_where_nothing_is_faults_and_is_counted() {
    // The handler is at RAM + 0x100.
    let mut program = vec![auipc(T0, 0), addi(T0, T0, 0x100), csrw(MTVEC, T0)];
    program.extend([lui(T0, 0x20000), lw(A0, 8, T0)]);
    program.resize(0x40, j(0));
    program.extend([csrr(A1, MCAUSE), csrr(A2, MTVAL)]);
    program.extend(poweroff());
    let mut board = board(Rule::Spec, &program);
    assert_eq!(run(&mut board).reason, Reason::PowerOff);
    assert_eq!((board.hart().x(11), board.hart().x(12)), (5, 0x2000_0008));
    let stats = board.stats();
    assert_eq!(stats.holes.get(), 1);
    assert_eq!(
        (stats.hole_address.get(), stats.hole_pc.get()),
        (0x2000_0008, RAM + 16)
    );
}

#[test]
fn the_guest_ends_itself_with_a_code_or_starts_again() {
    // 0x002A_3333, and 0x7777.
    let mut fails = board(Rule::Spec, &syscon(0x2A3, 0x333));
    let exit = run(&mut fails);
    assert_eq!((exit.reason, exit.code), (Reason::Fail, 42));
    let mut reboots = board(Rule::Spec, &syscon(0x7, 0x777));
    assert_eq!(run(&mut reboots).reason, Reason::Reboot);
}

/// Enable source 1 for machine mode, and sleep until its interrupt; then read and acknowledge
/// `InterruptStatus`, complete, and power off. a0: source; a1: `InterruptStatus`; a2: second claim.
fn interrupted() -> Vec<u32> {
    let mut program = vec![auipc(T0, 0), addi(T0, T0, 0x100), csrw(MTVEC, T0)];
    program.extend([lui(T0, 0xC000), addi(T1, ZERO, 1), sw(T1, 4, T0)]);
    program.extend([lui(T0, 0xC002), addi(T1, ZERO, 2), sw(T1, 0, T0)]);
    program.extend([
        addi(T1, ZERO, 1),
        addi(T2, ZERO, 0x7FF),
        addi(T2, T2, 1),
        csrw(MIE, T2),
    ]);
    program.extend([addi(T2, ZERO, 8), csrw(MSTATUS, T2), WFI, j(-4)]);
    program.resize(0x40, j(0));
    program.extend([
        lui(T0, 0xC200),
        lw(A0, 4, T0),
        lui(T1, SLOT_UPPER),
        lw(A1, 0x60, T1),
    ]);
    program.extend([sw(A1, 0x64, T1), sw(A0, 4, T0), lw(A2, 4, T0)]);
    program.extend(poweroff());
    program
}

#[test]
fn an_interrupt_whose_line_fell_before_the_claim_is_spurious() {
    let mut board = board(Rule::Spec, &interrupted());
    let mut asked = 0;
    let device = Device::start(move |request| {
        asked += 1;
        // The line is up when it is asked for, and down at the next access.
        let flags = if asked == 1 { LINE } else { 0 };
        Some(Answer {
            flags,
            ..answer_all(request, 0)
        })
    });
    device.connect(&mut board, 0, &[]);
    // The line is told before the guest enables its interrupts; then it falls.
    assert_eq!(board.run(8, &mut || false).reason, Reason::Budget);
    board.execute(0, Operation::read(0x70, 4)).unwrap();
    assert_eq!(run(&mut board).reason, Reason::PowerOff);
    let stats = board.stats();
    assert_eq!((stats.interrupts.get(), stats.spurious.get()), (1, 1));
}

/// A virtio device with a used buffer: its line is up until it is acknowledged.
fn with_used_buffer() -> Device {
    let mut status = 1;
    Device::start(move |request| {
        let acknowledged = request.accesses.first().filter(|access| access.0 == 0x64);
        status &= !acknowledged.map_or(0, |access| access.2);
        let flags = if status == 0 { 0 } else { LINE };
        Some(Answer {
            flags,
            sequence: 2 - status,
            ..answer_all(request, status)
        })
    })
}

#[test]
fn an_interrupt_is_taken_and_falls_with_the_acknowledgement() {
    for rule in [Rule::Spec, Rule::Qemu] {
        let mut board = board(rule, &interrupted());
        let device = with_used_buffer();
        device.connect(&mut board, 0, &[]);
        assert_eq!(run(&mut board).reason, Reason::PowerOff);
        let claims = (board.hart().x(10), board.hart().x(11), board.hart().x(12));
        assert_eq!(claims, (1, 1, 0), "{rule:?}");
        let stats = board.stats();
        assert_eq!((stats.interrupts.get(), stats.spurious.get()), (1, 0));
    }
}

#[test]
fn a_line_that_rises_wakes_the_sleeping_hart() {
    let mut board = board(Rule::Spec, &interrupted());
    let (sender, raise) = channel::<()>();
    let mut pending = 0;
    let device = Device::start(move |request| {
        if raise.try_recv().is_ok() {
            pending = 1;
        }
        let acknowledged = request.accesses.first().filter(|access| access.0 == 0x64);
        pending &= !acknowledged.map_or(0, |access| access.2);
        let flags = if pending == 0 { 0 } else { LINE };
        Some(Answer {
            flags,
            ..answer_all(request, pending)
        })
    });
    device.connect(&mut board, 0, &[]);
    let stats = board.stats();
    thread::scope(|scope| {
        scope.spawn(|| {
            // The first request asks for the line; then the hart goes to sleep, soon or already.
            while stats.line_requests.get() == 0 {
                thread::yield_now();
            }
            sender.send(()).unwrap();
            device.line.signal();
        });
        assert_eq!(run(&mut board).reason, Reason::PowerOff);
    });
    assert_eq!(board.hart().x(10), 1);
}

/// Set the timer to `ticks`, sleep until it comes, and power off.
fn sleep_for(ticks: i32) -> Vec<u32> {
    let mut program = vec![lui(T0, 0x2004), addi(T1, ZERO, ticks), sd(T1, 0, T0)];
    program.extend([addi(T1, ZERO, 0x80), csrw(MIE, T1), WFI]);
    program.extend(poweroff());
    program
}

#[test]
fn the_hart_sleeps_until_its_timer() {
    let times = [
        Time::Real { hz: 100_000 },
        Time::Instructions {
            hz: 100_000,
            per_tick: 10,
        },
    ];
    for time in times {
        let mut board = board_with_time(Rule::Spec, time, &sleep_for(2000));
        assert_eq!(run(&mut board).reason, Reason::PowerOff);
        assert!(board.hart().mtime() >= 2000);
        assert!(board.stats().wfi_ns.get() > 0);
    }
}

#[test]
fn a_budget_ends_after_as_many_instructions() {
    let mut board = board(Rule::Spec, &[j(0)]);
    assert_eq!(board.run(1000, &mut || false).reason, Reason::Budget);
    assert_eq!(board.stats().instructions.get(), 1000);
}

#[test]
fn a_single_step_over_wfi_does_not_sleep() {
    let mut board = board(Rule::Spec, &[WFI, j(0)]);
    let exit = board.run(1, &mut || false);
    assert_eq!((exit.reason, exit.pc), (Reason::Budget, RAM + 4));
}

#[test]
fn a_signal_ends_a_run_of_a_guest_that_spins() {
    let mut board = board(Rule::Spec, &[j(0)]);
    assert_eq!(board.run(0, &mut || true).reason, Reason::Signal);
}

#[test]
fn places_that_are_taken_are_refused() {
    let mut board = board(Rule::Spec, &[]);
    let refused = [
        (0x1000_1800, 0x1000, 2),
        (0x8000_0000, 0x1000, 2),
        (0x0C00_0000, 4, 2),
        (0x1000_2000, 0, 2),
        (0x1000_2000, 1 << 33, 2),
        (u64::MAX, 2, 2),
        (0x1000_2000, 0x1000, 1),
        (0x1000_2000, 0x1000, 0),
        (0x1000_2000, 0x1000, 128),
    ];
    for (address, size, source) in refused {
        assert!(
            board.add_slot(address, size, source, Kind::Other).is_err(),
            "{address:#x}"
        );
    }
    assert_eq!(board.add_slot(0x1000_2000, 0x1000, 127, Kind::Other), Ok(1));
}
