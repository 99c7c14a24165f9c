//! Breakpoints and watchpoints. Pages with one are kept out of the TLBs, so others cost nothing.

use crate::mmu::Kind;
use crate::ram::PAGE_SIZE;

/// A watched range of virtual addresses.
#[derive(Clone, Copy, Debug)]
struct Watchpoint {
    first: u64,
    /// The last byte, so that a range may end at 2^64.
    last: u64,
    on_read: bool,
    on_write: bool,
}

/// Break- and watchpoints.
#[derive(Debug, Default)]
pub struct Debug {
    /// Sorted.
    breakpoints: Vec<u64>,
    watchpoints: Vec<Watchpoint>,
    /// Address of the watchpoint that the present instruction hit.
    pub hit: Option<u64>,
    /// The breakpoint at which `run` returned: the next `run` executes it.
    pub skip: Option<u64>,
    /// Whether interrupts stay pending: a debugger steps what the user sees.
    pub holds_interrupts: bool,
}

impl Debug {
    pub fn set_breakpoints(&mut self, addresses: &[u64]) {
        self.breakpoints = addresses.to_vec();
        self.breakpoints.sort_unstable();
        self.skip = None;
    }

    /// Ranges of (address, bytes, on read, on write); an empty one is ignored.
    pub fn set_watchpoints(&mut self, ranges: &[(u64, u64, bool, bool)]) {
        self.watchpoints = ranges
            .iter()
            .filter(|range| range.1 > 0)
            .map(|&(first, length, on_read, on_write)| Watchpoint {
                first,
                last: first.saturating_add(length - 1),
                on_read,
                on_write,
            })
            .collect();
    }

    /// Whether execution has to stop before `pc`. The breakpoint reported last is passed once.
    pub fn breaks_at(&mut self, pc: u64) -> bool {
        if self.breakpoints.binary_search(&pc).is_err() {
            return false;
        }
        if self.skip.take() == Some(pc) {
            return false;
        }
        self.skip = Some(pc);
        true
    }

    /// Whether the page of `va` has a breakpoint.
    pub fn breaks_in_page(&self, va: u64) -> bool {
        let page = va & !(PAGE_SIZE - 1);
        let next = self.breakpoints.partition_point(|&at| at < page);
        self.breakpoints
            .get(next)
            .is_some_and(|at| at - page < PAGE_SIZE)
    }

    /// Whether a watchpoint touches the page of `va`.
    pub fn watches_page(&self, va: u64) -> bool {
        let page = va & !(PAGE_SIZE - 1);
        self.watchpoints
            .iter()
            .any(|w| w.first <= page + (PAGE_SIZE - 1) && page <= w.last)
    }

    /// First address of an access of `width` bytes at `va` that a watchpoint covers.
    pub fn watchpoint(&self, va: u64, width: u64, kind: Kind) -> Option<u64> {
        let last = va.saturating_add(width - 1);
        self.watchpoints
            .iter()
            .filter(|w| {
                if kind == Kind::Store {
                    w.on_write
                } else {
                    w.on_read
                }
            })
            .find(|w| w.first <= last && va <= w.last)
            .map(|w| w.first.max(va))
    }
}
