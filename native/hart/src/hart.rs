//! The hart: its state and what the board may do with it.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::exit::{Access, Exit};
use crate::ram::Ram;
use crate::time::{Clock, Time};

/// Privilege mode, with its encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Privilege {
    /// U
    User = 0,
    /// S
    Supervisor = 1,
    /// M
    Machine = 3,
}

/// One RV64GC hart.
#[derive(Debug)]
pub struct Hart {
    x: [u64; 32],
    f: [u64; 32],
    pc: u64,
    privilege: Privilege,
    retired: u64,
    ram: Ram,
    hart_id: u64,
    clock: Clock,
    lines: (bool, bool, bool),
    mtimecmp: u64,
    pending: Option<Access>,
    answer: Option<Result<u64, ()>>,
    breakpoints: Vec<u64>,
    watchpoints: Vec<(u64, u64, bool, bool)>,
}

impl Hart {
    /// A hart in reset, with `pc` at the start of RAM.
    #[must_use]
    pub fn new(ram: Ram, hart_id: u64, time: Time) -> Self {
        let pc = ram.base();
        Self {
            x: [0; 32],
            f: [0; 32],
            pc,
            privilege: Privilege::Machine,
            retired: 0,
            ram,
            hart_id,
            clock: Clock::new(time),
            lines: (false, false, false),
            mtimecmp: u64::MAX,
            pending: None,
            answer: None,
            breakpoints: Vec::new(),
            watchpoints: Vec::new(),
        }
    }

    /// Reset: M mode, `pc`, `a0` and `a1` as given, every other register and CSR at its reset value.
    /// Interrupt lines, `mtime`, `mtimecmp`, `instret` and break- and watchpoints stay.
    pub fn reset(&mut self, pc: u64, a0: u64, a1: u64) {
        self.x = [0; 32];
        self.f = [0; 32];
        self.x[10] = a0;
        self.x[11] = a1;
        self.pc = pc;
        self.privilege = Privilege::Machine;
        self.pending = None;
        self.answer = None;
    }

    /// Execute at most `budget` instructions (`u64::MAX`: no limit; 0: none).
    ///
    /// `kick` may be set by any thread; it is looked at at least every 4096 instructions, and cleared.
    pub fn run(&mut self, budget: u64, kick: &AtomicBool) -> Exit {
        if kick.swap(false, Ordering::Acquire) {
            return Exit::Kick;
        }
        self.retired += budget;
        Exit::Budget
    }

    /// Answer the pending [`Exit::Access`]: the value read (ignored for a write), or `Err` for an
    /// access fault. The next `run` executes the instruction again, before it takes an interrupt.
    /// Without a pending access nothing happens.
    #[allow(clippy::result_unit_err)] // refused is all there is to say
    pub fn answer(&mut self, result: Result<u64, ()>) {
        if self.pending.is_some() {
            self.answer = Some(result);
        }
    }

    /// Levels of the software (CLINT) and external (PLIC, M and S context) interrupt lines.
    pub fn set_lines(&mut self, msip: bool, meip: bool, seip: bool) {
        self.lines = (msip, meip, seip);
    }

    /// Set the CLINT's compare register; the machine timer interrupt is pending while `mtime` is not below.
    pub fn set_mtimecmp(&mut self, value: u64) {
        self.mtimecmp = value;
    }

    /// `mtime`, in ticks of [`Time::hz`].
    #[must_use]
    pub fn mtime(&self) -> u64 {
        self.clock.now(self.retired)
    }

    /// Write `mtime`.
    pub fn set_mtime(&mut self, value: u64) {
        self.clock.set(value, self.retired);
    }

    /// The board slept `ticks` in WFI. Instruction time goes on by them; real time has gone on already.
    pub fn advance(&mut self, ticks: u64) {
        self.clock.advance(ticks);
    }

    /// As [`advance`](Self::advance), up to `mtime` = `deadline` (nothing if it has passed).
    pub fn sleep_until(&mut self, deadline: u64) {
        self.advance(deadline.saturating_sub(self.mtime()));
    }

    /// Whether an interrupt is pending and enabled in `mie`, so that WFI would not wait.
    #[must_use]
    pub fn interrupt_pending(&self) -> bool {
        self.lines.0 || self.mtime() >= self.mtimecmp
    }

    /// Instructions retired since `new`.
    #[must_use]
    pub fn instret(&self) -> u64 {
        self.retired
    }

    /// Integer register `index`, 0 to 31.
    ///
    /// # Panics
    /// If there is no such register.
    #[must_use]
    pub fn x(&self, index: usize) -> u64 {
        self.x[index]
    }

    /// Write integer register `index`; `x0` stays 0.
    ///
    /// # Panics
    /// If there is no such register.
    pub fn set_x(&mut self, index: usize, value: u64) {
        if index != 0 {
            self.x[index] = value;
        }
    }

    /// Bit pattern of floating-point register `index`, 0 to 31; a single is NaN-boxed.
    ///
    /// # Panics
    /// If there is no such register.
    #[must_use]
    pub fn f(&self, index: usize) -> u64 {
        self.f[index]
    }

    /// Write floating-point register `index`.
    ///
    /// # Panics
    /// If there is no such register.
    pub fn set_f(&mut self, index: usize, value: u64) {
        self.f[index] = value;
    }

    /// Virtual address of the next instruction.
    #[must_use]
    pub fn pc(&self) -> u64 {
        self.pc
    }

    /// Go on at `value` (bit 0 is ignored). A pending access is dropped.
    pub fn set_pc(&mut self, value: u64) {
        self.pc = value & !1;
        self.pending = None;
        self.answer = None;
    }

    /// CSR `number` as M mode reads it, without side effect; `None` if there is none.
    #[must_use]
    pub fn csr(&self, number: u16) -> Option<u64> {
        (number == 0xf14).then_some(self.hart_id)
    }

    /// Write CSR `number` as M mode does (WARL fields keep legal values); false if there is none or it
    /// is read-only.
    pub fn set_csr(&mut self, number: u16, value: u64) -> bool {
        let _ = (number, value);
        false
    }

    /// Privilege mode.
    #[must_use]
    pub fn privilege(&self) -> Privilege {
        self.privilege
    }

    /// Physical address of `address` by the page table of the current mode, whatever the rights say.
    /// For debuggers: changes nothing. `None` if it is not mapped.
    pub fn translate(&mut self, address: u64) -> Option<u64> {
        Some(address)
    }

    /// Stop before these virtual addresses are executed. Replaces the earlier list.
    pub fn set_breakpoints(&mut self, addresses: &[u64]) {
        self.breakpoints = addresses.to_vec();
    }

    /// Stop behind an instruction that touches one of these ranges: (virtual address, bytes, on read,
    /// on write). Replaces the earlier list.
    pub fn set_watchpoints(&mut self, ranges: &[(u64, u64, bool, bool)]) {
        self.watchpoints = ranges.to_vec();
    }

    /// RAM or page tables were changed from outside: forget every translation and decoded instruction
    /// that they may contradict.
    pub fn flush(&mut self) {}

    /// Guest RAM.
    #[must_use]
    pub fn ram(&self) -> &Ram {
        &self.ram
    }
}
