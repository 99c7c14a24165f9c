//! Physical memory protection (RISC-V privileged, "Physical Memory Protection"): 16 entries, grain 4 bytes.

use super::Kind;
use crate::hart::Privilege;

/// Number of entries.
pub const ENTRIES: usize = 16;

const R: u8 = 1;
const W: u8 = 1 << 1;
const X: u8 = 1 << 2;
const A: u8 = 3 << 3;
const A_TOR: u8 = 1 << 3;
const A_NA4: u8 = 2 << 3;
const A_NAPOT: u8 = 3 << 3;
const L: u8 = 1 << 7;
/// `pmpaddr` holds bits 55..2 of an address.
const ADDRESS: u64 = (1 << 54) - 1;

/// What the entries say about a range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Match {
    /// No entry covers any byte.
    None,
    /// The first entry that covers any byte covers all of them.
    All(u8),
    /// It covers only some.
    Part,
}

/// The PMP registers.
#[derive(Clone, Debug, Default)]
pub struct Pmp {
    config: [u8; ENTRIES],
    address: [u64; ENTRIES],
    /// `first .. end` of each entry as its registers say; empty if it is off.
    ranges: [(u64, u64); ENTRIES],
    /// Entries to look at: behind the last that is on.
    used: usize,
}

impl Pmp {
    /// The `pmpcfg` register whose first entry is `first` (0 or 8).
    #[must_use]
    pub fn config(&self, first: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.config[first..first + 8]);
        u64::from_le_bytes(bytes)
    }

    /// `pmpaddr` of entry `index`.
    #[must_use]
    pub fn address(&self, index: usize) -> u64 {
        self.address[index]
    }

    /// Write the `pmpcfg` register whose first entry is `first`. Locked entries keep their value, and so
    /// do entries for which the reserved W without R is written.
    pub fn set_config(&mut self, first: usize, value: u64) {
        for (config, new) in self.config[first..first + 8]
            .iter_mut()
            .zip(value.to_le_bytes())
        {
            if *config & L == 0 && new & (R | W) != W {
                *config = new & (L | A | X | W | R);
            }
        }
        self.update();
    }

    /// Write `pmpaddr` of entry `index`, unless it is locked or bounds a locked TOR entry.
    pub fn set_address(&mut self, index: usize, value: u64) {
        let bounds_locked = self
            .config
            .get(index + 1)
            .is_some_and(|next| next & L != 0 && next & A == A_TOR);
        if self.config[index] & L == 0 && !bounds_locked {
            self.address[index] = value & ADDRESS;
            self.update();
        }
    }

    fn update(&mut self) {
        self.used = 0;
        for i in 0..ENTRIES {
            self.ranges[i] = self.range(i);
            if self.config[i] & A != 0 {
                self.used = i + 1;
            }
        }
    }

    fn range(&self, index: usize) -> (u64, u64) {
        let address = self.address[index];
        match self.config[index] & A {
            A_TOR => {
                let first = if index == 0 {
                    0
                } else {
                    self.address[index - 1]
                };
                if first < address {
                    (first << 2, address << 2)
                } else {
                    (0, 0)
                }
            }
            A_NA4 => (address << 2, (address << 2) + 4),
            A_NAPOT => {
                // All ones means 2^57 bytes: more than there are.
                let size = 8u64 << address.trailing_ones();
                let first = (address << 2) & !(size - 1);
                (first, first + size)
            }
            _ => (0, 0),
        }
    }

    fn find(&self, address: u64, length: u64) -> Match {
        let end = address.saturating_add(length);
        for i in 0..self.used {
            let (from, to) = self.ranges[i];
            if from < end && address < to {
                if from <= address && end <= to {
                    return Match::All(self.config[i]);
                }
                return Match::Part;
            }
        }
        Match::None
    }

    /// Whether an access of `length` bytes at physical `address` is allowed.
    #[must_use]
    pub fn allows(&self, address: u64, length: u64, kind: Kind, privilege: Privilege) -> bool {
        match self.find(address, length) {
            Match::None => privilege == Privilege::Machine,
            Match::Part => false,
            Match::All(config) if privilege == Privilege::Machine && config & L == 0 => true,
            Match::All(config) => {
                let needed = match kind {
                    Kind::Fetch => X,
                    Kind::Load => R,
                    Kind::Store => W,
                };
                config & needed != 0
            }
        }
    }

    /// Whether one answer holds for every access within `address .. address + length`.
    #[must_use]
    pub fn is_uniform(&self, address: u64, length: u64) -> bool {
        self.find(address, length) != Match::Part
    }
}
