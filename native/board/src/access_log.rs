//! What the guest did: accesses to slots, and those that broke a rule. Bounded; what is dropped is
//! counted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::wire::Operation;

/// Accesses that are kept until they are drained.
pub const ACCESSES_MAX: usize = 1 << 16;
/// Violations that are kept until they are drained.
pub const VIOLATIONS_MAX: usize = 1 << 10;

/// One access to a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Logged {
    /// Number of the slot.
    pub slot: usize,
    /// Where the instruction is.
    pub pc: u64,
    /// The access. Of a read, `value` is what was read.
    pub operation: Operation,
    /// `CLOCK_MONOTONIC` before the access, in ns.
    pub time_ns: u64,
}

/// An access that broke a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The access.
    pub access: Logged,
    /// Such as `"MISALIGNED"`.
    pub reason: String,
    /// In words.
    pub message: String,
}

/// The log. Any thread drains it.
#[derive(Debug, Default)]
pub struct AccessLog {
    on: AtomicBool,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    accesses: VecDeque<Logged>,
    violations: VecDeque<Violation>,
    dropped: u64,
}

impl AccessLog {
    /// Log accesses, or stop it. Violations are always kept.
    pub fn set_on(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
    }

    /// Log an access, if logging is on. The oldest one makes room.
    pub fn note(&self, access: impl FnOnce() -> Logged) {
        if self.on.load(Ordering::Relaxed) {
            let kept = &mut *self.kept();
            push(
                &mut kept.accesses,
                access(),
                ACCESSES_MAX,
                &mut kept.dropped,
            );
        }
    }

    /// Keep a violation. The oldest one makes room.
    pub fn violation(&self, violation: Violation) {
        let kept = &mut *self.kept();
        push(
            &mut kept.violations,
            violation,
            VIOLATIONS_MAX,
            &mut kept.dropped,
        );
    }

    /// Take all accesses, oldest first.
    pub fn drain_accesses(&self) -> Vec<Logged> {
        std::mem::take(&mut self.kept().accesses).into()
    }

    /// Take all violations, oldest first.
    pub fn drain_violations(&self) -> Vec<Violation> {
        std::mem::take(&mut self.kept().violations).into()
    }

    /// Entries that were dropped for want of room.
    pub fn dropped(&self) -> u64 {
        self.kept().dropped
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing panics while it is held.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn push<T>(queue: &mut VecDeque<T>, entry: T, limit: usize, dropped: &mut u64) {
    if queue.len() >= limit {
        queue.pop_front();
        *dropped += 1;
    }
    queue.push_back(entry);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(slot: usize) -> Logged {
        Logged {
            slot,
            pc: 0x8000_0000,
            operation: Operation::read(0, 4),
            time_ns: 0,
        }
    }

    #[test]
    fn nothing_is_logged_until_it_is_on() {
        let log = AccessLog::default();
        log.note(|| access(1));
        log.set_on(true);
        log.note(|| access(2));
        assert_eq!(log.drain_accesses(), [access(2)]);
        assert_eq!(log.drain_accesses(), []);
    }

    #[test]
    fn the_oldest_accesses_make_room_and_are_counted() {
        let log = AccessLog::default();
        log.set_on(true);
        (0..ACCESSES_MAX + 3).for_each(|slot| log.note(|| access(slot)));
        assert_eq!(log.dropped(), 3);
        assert_eq!(log.drain_accesses()[0], access(3));
    }
}
