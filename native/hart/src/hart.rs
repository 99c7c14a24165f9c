//! The hart: its state and what the board may do with it.

use crate::code::cache::Cache;
use crate::csr::interrupt;
use crate::csr::state::Csrs;
use crate::debug::Debug;
use crate::execute::Reservation;
use crate::exit::Access;
use crate::mmu::tlb::Tlb;
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
    /// By number of a micro-op: 0 to 31, then the sink for `x0`. As long as `u8` has values, so that
    /// no index needs a check.
    pub(crate) x: [u64; 256],
    pub(crate) f: [u64; 32],
    pub(crate) pc: u64,
    pub(crate) privilege: Privilege,
    /// Instructions retired.
    pub(crate) retired: u64,
    /// Exceptions taken.
    pub(crate) traps: u64,
    /// The slow path did something after which execution can't simply go on.
    pub(crate) attention: bool,
    /// `pc` of the load or store on the slow path.
    pub(crate) pc_of_access: u64,
    pub(crate) reservation: Option<Reservation>,
    pub(crate) csrs: Csrs,
    /// Page of RAM to number of the decoded page.
    pub(crate) fetch_tlb: Tlb<u32>,
    /// Page of RAM to what has to be added to a virtual address to make it the host's.
    pub(crate) load_tlb: Tlb<u64>,
    /// As `load_tlb`; without pages whose stores must be noted.
    pub(crate) store_tlb: Tlb<u64>,
    /// Gibibytes of which a superpage may be in a TLB.
    pub(crate) superpages: u64,
    pub(crate) code: Cache,
    pub(crate) debug: Debug,
    pub(crate) ram: Ram,
    pub(crate) id: u64,
    pub(crate) mtimecmp: u64,
    clock: Clock,
    /// The access that `run` returned last, until it is executed.
    pub(crate) pending: Option<Access>,
    pub(crate) answer: Option<Result<u64, ()>>,
}

impl Hart {
    /// A hart in reset, with `pc` at the start of RAM.
    #[must_use]
    pub fn new(ram: Ram, hart_id: u64, time: Time) -> Self {
        let mut hart = Self {
            x: [0; 256],
            f: [0; 32],
            pc: ram.base(),
            privilege: Privilege::Machine,
            retired: 0,
            traps: 0,
            attention: false,
            pc_of_access: 0,
            reservation: None,
            csrs: Csrs::default(),
            fetch_tlb: Tlb::default(),
            load_tlb: Tlb::default(),
            store_tlb: Tlb::default(),
            superpages: 0,
            code: Cache::new(&ram),
            debug: Debug::default(),
            ram,
            id: hart_id,
            mtimecmp: u64::MAX,
            clock: Clock::new(time),
            pending: None,
            answer: None,
        };
        hart.update_context();
        hart
    }

    /// Reset: M mode, `pc`, `a0` and `a1` as given, every other register and CSR at its reset value.
    /// Interrupt lines, `mtime`, `mtimecmp`, `instret()` and break- and watchpoints stay.
    pub fn reset(&mut self, pc: u64, a0: u64, a1: u64) {
        let lines = self.csrs.mip_lines;
        self.x = [0; 256];
        self.f = [0; 32];
        self.x[10] = a0;
        self.x[11] = a1;
        self.privilege = Privilege::Machine;
        self.reservation = None;
        self.csrs = Csrs::default();
        self.csrs.mip_lines = lines;
        self.csrs.mcycle.write(0, self.retired);
        self.csrs.minstret.write(0, self.retired);
        self.set_pc(pc);
        self.update_context();
        self.update_timers();
        self.flush();
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
    #[allow(clippy::similar_names)] // the specification's
    pub fn set_lines(&mut self, msip: bool, meip: bool, seip: bool) {
        let mut lines = self.csrs.mip_lines & (interrupt::MTI | interrupt::STI);
        for (level, bit) in [
            (msip, interrupt::MSI),
            (meip, interrupt::MEI),
            (seip, interrupt::SEI),
        ] {
            if level {
                lines |= bit;
            }
        }
        self.csrs.mip_lines = lines;
    }

    /// Set the CLINT's compare register; the machine timer interrupt is pending while `mtime` is not below.
    pub fn set_mtimecmp(&mut self, value: u64) {
        self.mtimecmp = value;
        self.update_timers();
    }

    /// `mtime`, in ticks of [`Time::hz`].
    #[must_use]
    pub fn mtime(&self) -> u64 {
        self.clock.now(self.retired)
    }

    /// Write `mtime`.
    pub fn set_mtime(&mut self, value: u64) {
        self.clock.set(value, self.retired);
        self.update_timers();
    }

    /// The board slept `ticks` in WFI. Instruction time goes on by them; real time has gone on already.
    pub fn advance(&mut self, ticks: u64) {
        self.clock.advance(ticks);
        self.update_timers();
    }

    /// As [`advance`](Self::advance), up to `mtime` = `deadline` (nothing if it has passed).
    pub fn sleep_until(&mut self, deadline: u64) {
        self.advance(deadline.saturating_sub(self.mtime()));
    }

    /// Whether an interrupt is pending and enabled in `mie`, so that WFI would not wait.
    #[must_use]
    pub fn interrupt_pending(&self) -> bool {
        (self.csrs.mip_software | self.lines_now()) & self.csrs.mie != 0
    }

    /// As [`interrupt_pending`](Self::interrupt_pending), with timers as of the last look at `mtime`.
    pub(crate) fn interrupt_is_enabled(&self) -> bool {
        self.csrs.mip() & self.csrs.mie != 0
    }

    /// Instructions until a timer interrupt becomes pending, if instructions drive `mtime`.
    pub(crate) fn instructions_to_timer(&self) -> Option<u64> {
        let deadline = self.timer_deadline()?;
        self.clock.instructions_until(deadline, self.retired)
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
        assert!(index < 32, "x{index} does not exist");
        self.x[index]
    }

    /// Write integer register `index`; `x0` stays 0.
    ///
    /// # Panics
    /// If there is no such register.
    pub fn set_x(&mut self, index: usize, value: u64) {
        assert!(index < 32, "x{index} does not exist");
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
        if self.pc == value & !1 {
            return; // An access that is under way there stays under way.
        }
        self.pc = value & !1;
        self.pending = None;
        self.answer = None;
        self.debug.skip = None;
    }

    /// CSR `number` as M mode reads it, without side effect; `None` if there is none.
    #[must_use]
    pub fn csr(&self, number: u16) -> Option<u64> {
        self.read_csr(number)
    }

    /// Write CSR `number` as M mode does (WARL fields keep legal values); false if there is none or it
    /// is read-only.
    pub fn set_csr(&mut self, number: u16, value: u64) -> bool {
        self.write_csr(number, value, self.retired)
    }

    /// Privilege mode.
    #[must_use]
    pub fn privilege(&self) -> Privilege {
        self.privilege
    }

    /// Physical address of `address` by the page table of the current mode, whatever the rights say.
    /// For debuggers: changes nothing. `None` if it is not mapped.
    #[must_use]
    pub fn translate(&self, address: u64) -> Option<u64> {
        self.look_up(address)
    }

    /// Stop before these virtual addresses are executed. Replaces the earlier list.
    pub fn set_breakpoints(&mut self, addresses: &[u64]) {
        self.debug.set_breakpoints(addresses);
        // An instruction whose access is under way has passed its breakpoint: it executes once.
        self.debug.skip = self.pending.map(|access| access.pc);
        self.flush_translations();
    }

    /// Stop behind an instruction that touches one of these ranges: (virtual address, bytes, on read,
    /// on write). Replaces the earlier list.
    pub fn set_watchpoints(&mut self, ranges: &[(u64, u64, bool, bool)]) {
        self.debug.set_watchpoints(ranges);
        self.flush_translations();
    }

    /// Leave interrupts pending, or take them as always. Exceptions are taken either way.
    pub fn hold_interrupts(&mut self, hold: bool) {
        self.debug.holds_interrupts = hold;
    }

    /// RAM or page tables were changed from outside: forget every translation and decoded instruction
    /// that they may contradict.
    pub fn flush(&mut self) {
        self.flush_translations();
        self.check_code();
    }

    /// Guest RAM.
    #[must_use]
    pub fn ram(&self) -> &Ram {
        &self.ram
    }
}
