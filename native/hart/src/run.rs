//! The outer loop: budget, kick, timers, interrupts; then a page of micro-ops.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::code::page::Page;
use crate::decode::length;
use crate::exception::{Exception, Stop};
use crate::execute::Leave;
use crate::exit::Exit;
use crate::hart::Hart;
use crate::mmu::Kind;
use crate::ram::PAGE_SIZE;

const OFFSET: u64 = PAGE_SIZE - 1;
/// By how many instructions `execute` may exceed its limit: those of one page.
const EXCESS: u64 = 2048;
/// Instructions between two looks at `kick` and the timers, without the excess.
const CHUNK: u64 = 2048;

/// How to execute the instruction at `pc`.
enum Entry {
    /// In a decoded page.
    Page { number: u32, careful: bool },
    /// Alone: the PMP divides its page.
    Alone,
}

impl Hart {
    /// Execute until something needs the board, at most `budget` instructions (`u64::MAX`: no limit; 0:
    /// none). An instruction that raises an exception does not retire, but counts.
    ///
    /// `kick` may be set by any thread; it is looked at at least every 4096 instructions, and cleared.
    pub fn run(&mut self, budget: u64, kick: &AtomicBool) -> Exit {
        if self.answer.is_none() {
            self.pending = None;
        }
        let end = self.progress().saturating_add(budget);
        loop {
            if kick.load(Ordering::Relaxed) && kick.swap(false, Ordering::Acquire) {
                return Exit::Kick;
            }
            if self.progress() >= end {
                return Exit::Budget;
            }
            self.update_timers();
            let until_timer = self.instructions_to_timer().unwrap_or(u64::MAX).max(1);
            let chunk = self.progress() + CHUNK.min(until_timer).min(end - self.progress());
            while self.progress() < chunk {
                if self.answer.is_none()
                    && !self.debug.holds_interrupts
                    && let Some(number) = self.interrupt_to_take()
                {
                    self.take_interrupt(number);
                }
                let exit = self.turn(chunk - self.progress(), end - self.progress());
                if let Some(exit) = exit.or_else(|| self.attend()) {
                    return exit;
                }
            }
        }
    }

    /// What the budget of [`run`](Hart::run) counts: retired instructions, and exceptions.
    #[must_use]
    pub fn progress(&self) -> u64 {
        self.retired + self.traps
    }

    /// Execute for about `limit` instructions, and never more than `room`.
    fn turn(&mut self, limit: u64, room: u64) -> Option<Exit> {
        let leave = match self.enter() {
            Ok(Entry::Page { number, careful }) => {
                let page = self.code.page(number);
                self.execute_page(page, limit, room, careful)
            }
            Ok(Entry::Alone) => self.execute_alone(),
            Err(exception) => Leave::Stop(exception.into()),
        };
        let leave = match leave {
            Leave::Split => self.execute_alone(),
            leave => leave,
        };
        let stop = match leave {
            Leave::Next | Leave::Split => None,
            Leave::System(raw) => self.system(raw).err(),
            Leave::Breakpoint => Some(Stop::Exit(Exit::Breakpoint)),
            Leave::Stop(stop) => Some(stop),
        };
        self.answer = None;
        match stop {
            Some(Stop::Exit(exit)) => Some(exit),
            Some(Stop::Exception(exception)) => {
                self.take_exception(exception);
                None
            }
            None => None,
        }
    }

    fn execute_page(&mut self, page: *mut Page, limit: u64, room: u64, careful: bool) -> Leave {
        let (page_va, offset) = (self.pc & !OFFSET, self.pc & OFFSET);
        if careful || room <= EXCESS {
            self.execute::<true>(page, page_va, offset, limit.min(room).cast_signed())
        } else {
            let limit = limit.min(room - EXCESS).cast_signed();
            self.execute::<false>(page, page_va, offset, limit)
        }
    }

    /// Execute the instruction at `pc` by itself: it is on two pages, or its page can't be decoded.
    fn execute_alone(&mut self) -> Leave {
        let mut page = match self.fetch() {
            Ok((raw, bytes)) => Page::single(raw, bytes, (self.pc & OFFSET) as u16),
            Err(exception) => return Leave::Stop(exception.into()),
        };
        self.execute::<true>(&raw mut page, self.pc & !OFFSET, self.pc & OFFSET, 1)
    }

    /// The instruction at `pc` and its length in bytes.
    fn fetch(&mut self) -> Result<(u32, u64), Exception> {
        let low = self.fetch_parcel(self.pc)?;
        if length(low) == 2 {
            return Ok((low.into(), 2));
        }
        let high = self.fetch_parcel(self.pc.wrapping_add(2))?;
        Ok((u32::from(low) | u32::from(high) << 16, 4))
    }

    fn fetch_parcel(&mut self, va: u64) -> Result<u16, Exception> {
        let (address, _) = self.resolve_allowed(va, 2, Kind::Fetch, self.privilege)?;
        #[allow(clippy::cast_possible_truncation)] // two bytes were loaded
        self.ram
            .load(address, 2)
            .map(|parcel| parcel as u16)
            .ok_or(Kind::Fetch.access_fault(va))
    }

    /// Find the decoded page of `pc`.
    #[inline]
    fn enter(&mut self) -> Result<Entry, Exception> {
        match self.fetch_tlb.get(self.pc, 1) {
            Some(number) => Ok(Entry::Page {
                number,
                careful: false,
            }),
            None => self.enter_slow(),
        }
    }

    #[cold]
    fn enter_slow(&mut self) -> Result<Entry, Exception> {
        let pc = self.pc;
        let (address, uniform) = self.resolve_allowed(pc, 2, Kind::Fetch, self.privilege)?;
        if !uniform {
            return Ok(Entry::Alone);
        }
        let found = self.code.find(&self.ram, address);
        let (number, evicted, watch) = found.ok_or(Kind::Fetch.access_fault(pc))?;
        if evicted {
            self.fetch_tlb.clear();
        }
        if watch {
            self.store_tlb.clear();
        }
        let careful = self.debug.breaks_in_page(pc);
        if !careful {
            self.fetch_tlb.insert(pc, number);
        }
        Ok(Entry::Page { number, careful })
    }

    /// Look at what the slow path left: the watchpoint that was hit.
    #[inline]
    fn attend(&mut self) -> Option<Exit> {
        if !self.attention {
            return None;
        }
        self.attention = false;
        let address = self.debug.hit.take()?;
        Some(Exit::Watchpoint { address })
    }
}
