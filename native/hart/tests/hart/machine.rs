//! A hart with a mebibyte of RAM.

use std::sync::atomic::AtomicBool;

use virtmesh_hart::{Exit, Hart, Privilege, Ram, Time};

use crate::csrs::{MSTATUS, MTVEC};

pub const BASE: u64 = 0x8000_0000;
pub const SIZE: u64 = 1 << 20;
/// Where M mode's trap handler is: an endless loop.
pub const HANDLER: u64 = BASE + 0xf_f000;
/// Where code of `with_code` begins.
pub const CODE: u64 = BASE + 0x1000;

/// A hart, its RAM and its kick.
pub struct Machine {
    pub hart: Hart,
    pub kick: AtomicBool,
    /// RAM, kept for as long as the hart: dropped behind it.
    _memory: Vec<u64>,
}

impl Machine {
    pub fn new() -> Self {
        Self::with_time(Time::Instructions {
            hz: 10_000_000,
            per_tick: 10,
        })
    }

    pub fn with_time(time: Time) -> Self {
        Self::with(time, SIZE)
    }

    /// With `size` bytes of RAM, `SIZE` at least.
    pub fn with(time: Time, size: u64) -> Self {
        let mut memory = vec![0u64; usize::try_from(size / 8).expect("64 bits") + 512];
        let start = memory.as_mut_ptr().cast::<u8>();
        let pointer = start.wrapping_add(start.align_offset(4096));
        // SAFETY: the vector is a page longer than RAM, is used through `ram` alone, and outlives the hart.
        let ram = unsafe { Ram::new(pointer, BASE, size) };
        let mut hart = Hart::new(ram, 0, time);
        hart.reset(CODE, 0, 0);
        let mut machine = Self {
            hart,
            kick: AtomicBool::new(false),
            _memory: memory,
        };
        machine.write32(HANDLER, &[super::asm::jal(0, 0)]);
        machine.set_csr(MTVEC, HANDLER);
        machine
    }

    /// With `code` at `CODE`, and `pc` there.
    pub fn with_code(code: &[u32]) -> Self {
        let mut machine = Self::new();
        machine.write32(CODE, code);
        machine
    }

    pub fn write32(&mut self, address: u64, words: &[u32]) {
        for (i, &word) in words.iter().enumerate() {
            let stored = self
                .hart
                .ram()
                .store(address + 4 * i as u64, 4, word.into());
            assert!(stored, "{address:#x} is not RAM");
        }
    }

    pub fn write64(&mut self, address: u64, value: u64) {
        assert!(
            self.hart.ram().store(address, 8, value),
            "{address:#x} is not RAM"
        );
    }

    pub fn read64(&self, address: u64) -> u64 {
        self.hart.ram().load(address, 8).expect("RAM")
    }

    pub fn csr(&self, number: u16) -> u64 {
        self.hart.csr(number).expect("a CSR")
    }

    pub fn set_csr(&mut self, number: u16, value: u64) {
        assert!(
            self.hart.set_csr(number, value),
            "CSR {number:#x} is not writable"
        );
    }

    pub fn run(&mut self, budget: u64) -> Exit {
        self.hart.run(budget, &self.kick)
    }

    /// Execute `count` instructions, none of which leaves.
    pub fn step(&mut self, count: u64) {
        assert_eq!(self.run(count), Exit::Budget);
    }

    /// Go to `privilege` at `pc`, by MRET.
    pub fn enter(&mut self, privilege: Privilege, pc: u64) {
        const MPP: u64 = 3 << 11;
        let mstatus = self.csr(MSTATUS) & !MPP | (privilege as u64) << 11;
        self.set_csr(MSTATUS, mstatus);
        self.set_csr(crate::csrs::MEPC, pc);
        self.write32(HANDLER + 16, &[super::asm::MRET]);
        self.hart.set_pc(HANDLER + 16);
        self.step(1);
        assert_eq!((self.hart.privilege(), self.hart.pc()), (privilege, pc));
    }

    /// Let S and U mode access everything: PMP entry 15 covers all addresses.
    pub fn open_pmp(&mut self) {
        self.set_csr(0x3bf, u64::MAX);
        self.set_csr(0x3a2, 0x1f << 56);
    }
}
