//! The run loop: the hart runs until it needs something, gets it, and goes on.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use virtmesh_hart::Exit as Left;

use crate::board::Board;
use crate::channel::Lost;
use crate::held;
use crate::mmio::Accessed;
use crate::notifier::Slots;
use crate::requests::Progress;
use crate::slot::Link;
use crate::syscon::Request;

/// Instructions between two looks at the process's signals: a fraction of a second.
const SLICE: u64 = 20_000_000;
/// Instructions that the guest gets between two changes of lines at least.
const PROGRESS: u64 = 1000;
/// Longest sleep at a time.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// Why a run ended. Another run goes on where it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The given number of instructions is retired, or has trapped.
    Budget,
    /// The notifier said so.
    Kick,
    /// A signal handler of the caller said so.
    Signal,
    /// A breakpoint is reached.
    Breakpoint,
    /// A watchpoint was touched; `address` is the virtual address.
    Watchpoint,
    /// A slot lost its device, or the guest touched one that has. After [`connect`](Board::connect),
    /// the next run makes the access again.
    Lost,
    /// The guest is done.
    PowerOff,
    /// The guest wants to start again.
    Reboot,
    /// The guest failed, with a code.
    Fail,
}

/// The end of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Why.
    pub reason: Reason,
    /// The slot that is lost.
    pub slot: Option<usize>,
    /// The code of [`Reason::Fail`], 0 otherwise.
    pub code: u16,
    /// Address of the next instruction.
    pub pc: u64,
    /// What was touched: the address of [`Reason::Watchpoint`].
    pub address: Option<u64>,
    /// Why the slot is lost; empty otherwise.
    pub message: String,
}

impl Board {
    /// Run the guest. A budget of 0 is none.
    ///
    /// `signalled` is asked at times (a few times per second, and after each interrupted system call)
    /// whether to end the run.
    pub fn run(&mut self, budget: u64, signalled: &mut dyn FnMut() -> bool) -> Exit {
        let start = Instant::now();
        let exit = self.run_until_exit(budget, signalled);
        if exit.reason != Reason::Kick {
            // A device that is lost here, or does not answer, ends the next run.
            let _ = self.flush();
        }
        self.stats.run_ns.add(nanoseconds(start.elapsed()));
        exit
    }

    fn run_until_exit(&mut self, budget: u64, signalled: &mut dyn FnMut() -> bool) -> Exit {
        let mut left = if budget == 0 { u64::MAX } else { budget };
        loop {
            if self.notifier.is_stopped() {
                // Before the stop is forgotten, which ends the wait for a device that is slow.
                let _ = self.flush();
                self.notifier.take_stop();
                return self.exit(Reason::Kick);
            }
            match self.settle() {
                Progress::Done => {}
                Progress::Lost(slot) => return self.exit_lost(slot),
                Progress::Interrupted if signalled() => return self.exit(Reason::Signal),
                Progress::Interrupted => continue,
            }
            match self.execute_slice(&mut left) {
                Left::Access(access) => match self.access(access) {
                    Accessed::Answered | Accessed::Slot(Progress::Done) => {}
                    // The next turn says whether it was a kick or a signal.
                    Accessed::Slot(Progress::Interrupted) => {
                        if !self.notifier.is_stopped() && signalled() {
                            return self.exit(Reason::Signal);
                        }
                    }
                    Accessed::Slot(Progress::Lost(slot)) => return self.exit_lost(slot),
                    Accessed::Asked(request) => return self.exit_asked(request),
                },
                Left::Budget | Left::Wfi { .. } if left == 0 => return self.exit(Reason::Budget),
                // It may be an interrupt that the guest waits for: it looks once more.
                Left::Wfi { .. } if !self.held.is_empty() => match self.flush() {
                    Progress::Lost(slot) => return self.exit_lost(slot),
                    Progress::Interrupted if signalled() => return self.exit(Reason::Signal),
                    Progress::Done | Progress::Interrupted => {}
                },
                Left::Wfi { deadline } => {
                    if self.sleep(deadline) && signalled() {
                        return self.exit(Reason::Signal);
                    }
                }
                Left::Budget => {
                    if signalled() {
                        return self.exit(Reason::Signal);
                    }
                }
                Left::Kick => {}
                Left::Breakpoint => return self.exit(Reason::Breakpoint),
                Left::Watchpoint { address } => {
                    let exit = self.exit(Reason::Watchpoint);
                    let address = Some(address);
                    return Exit { address, ..exit };
                }
            }
        }
    }

    /// Run the hart for a while, with its lines as they are.
    fn execute_slice(&mut self, left: &mut u64) -> Left {
        let (machine, supervisor) = (self.plic.asserted(0), self.plic.asserted(1));
        self.hart.set_lines(self.clint.msip, machine, supervisor);
        let (before, begun) = (self.hart.instret(), self.hart.progress());
        let slice = if self.held.is_empty() {
            SLICE
        } else {
            held::SLICE
        };
        let mut exit = self.hart.run((*left).min(slice), &self.notifier.kick);
        if exit == Left::Kick && self.hart.instret() == before {
            // A device that signals its line without a pause must not stop the guest.
            let unkicked = AtomicBool::new(false);
            exit = self.hart.run((*left).min(PROGRESS), &unkicked);
        }
        let retired = self.hart.instret().saturating_sub(before);
        self.stats.instructions.add(retired);
        // An instruction that traps does not retire, but it is a step.
        let steps = self.hart.progress().saturating_sub(begun);
        self.stats.steps.add(steps);
        if *left != u64::MAX {
            *left = left.saturating_sub(steps);
        }
        exit
    }

    /// Complete the request that is under way, and ask for the lines that may have changed.
    fn settle(&mut self) -> Progress {
        let progress = self.finish();
        if progress != Progress::Done {
            return progress;
        }
        self.ended |= self.notifier.take_ended();
        while let Some(slot) = take_lowest(&mut self.ended) {
            let connection = self.connection(slot);
            if connection.is_some_and(|connection| connection.channel.has_ended()) {
                return self.lose(slot, &Lost::Ended);
            }
        }
        let mut changed = self.notifier.take_lines();
        while let Some(slot) = take_lowest(&mut changed) {
            let connection = self.connection(slot);
            // A signal that was drained before a request was sent is part of its answer.
            if connection.is_some_and(|connection| connection.line_event.drain()) {
                self.ask |= 1 << slot;
            }
        }
        while self.ask != 0 {
            // One request at a time: held writes of another slot go first.
            let progress = self.flush_others(self.ask.trailing_zeros() as usize);
            if progress != Progress::Done {
                return progress;
            }
            let Some(slot) = take_lowest(&mut self.ask) else {
                break; // The connection that was to be asked is gone.
            };
            let progress = self.request(slot, None, None);
            if progress != Progress::Done {
                return progress;
            }
        }
        self.flush_due()
    }

    /// Sleep until the deadline (an `mtime`), a line, the end of a connection, or a kick. True if it was
    /// interrupted by a signal.
    fn sleep(&mut self, deadline: Option<u64>) -> bool {
        let hz = u128::from(self.timebase_hz());
        let ticks = deadline.map(|deadline| deadline.saturating_sub(self.hart.mtime()));
        let time = ticks.map(|ticks| u128::from(ticks) * 1_000_000_000 / hz + 1);
        let time = time.map_or(SLEEP_MAX, |ns| {
            Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
        });
        let mut polled = vec![readable(self.notifier.wake_fd().as_raw_fd())];
        let mut watched = vec![];
        for (number, slot) in self.slots.iter().enumerate() {
            if let Link::Connected(connection) = &slot.link {
                polled.push(readable(connection.line_event.as_fd().as_raw_fd()));
                watched.push(number);
            }
        }
        let start = Instant::now();
        let interrupted = wait(&mut polled, time.min(SLEEP_MAX));
        let slept = start.elapsed();
        self.notifier.drain_wake();
        for (entry, number) in polled[1..].iter().zip(watched) {
            let connection = self.connection(number).filter(|_| entry.revents != 0);
            if connection.is_some_and(|connection| connection.line_event.drain()) {
                self.ask |= 1 << number;
            }
        }
        self.stats.wfi_ns.add(nanoseconds(slept));
        // Never past the deadline: the host may wake this thread late.
        let passed = u64::try_from(slept.as_nanos() * hz / 1_000_000_000).unwrap_or(u64::MAX);
        self.hart.advance(passed.min(ticks.unwrap_or(u64::MAX)));
        interrupted
    }

    fn exit(&self, reason: Reason) -> Exit {
        Exit {
            reason,
            slot: None,
            code: 0,
            pc: self.hart.pc(),
            address: None,
            message: String::new(),
        }
    }

    fn exit_lost(&self, number: usize) -> Exit {
        let slot = &self.slots[number];
        let message = match &slot.link {
            Link::Lost(why) => why.clone(),
            Link::Absent | Link::Connected(_) => String::new(),
        };
        Exit {
            slot: Some(number),
            address: Some(slot.address),
            message,
            ..self.exit(Reason::Lost)
        }
    }

    fn exit_asked(&self, request: Request) -> Exit {
        let (reason, code) = match request {
            Request::PowerOff => (Reason::PowerOff, 0),
            Request::Reboot => (Reason::Reboot, 0),
            Request::Fail(code) => (Reason::Fail, code),
        };
        Exit {
            code,
            ..self.exit(reason)
        }
    }
}

/// Take the lowest bit of a word.
fn take_lowest(slots: &mut Slots) -> Option<usize> {
    let lowest = (*slots != 0).then(|| slots.trailing_zeros() as usize);
    *slots &= slots.wrapping_sub(1);
    lowest
}

fn readable(fd: libc::c_int) -> libc::pollfd {
    libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    }
}

/// Wait until any is ready, or for a time. True if a signal came.
fn wait(polled: &mut [libc::pollfd], time: Duration) -> bool {
    let time = libc::timespec {
        // At most an hour.
        tv_sec: time.as_secs().cast_signed(),
        tv_nsec: i64::from(time.subsec_nanos()),
    };
    let (entries, count) = (polled.as_mut_ptr(), polled.len() as libc::nfds_t);
    // SAFETY: the entries are valid for their number, and the time is valid.
    let ready = unsafe { libc::ppoll(entries, count, &raw const time, std::ptr::null()) };
    ready < 0 && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
