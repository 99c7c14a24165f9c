//! What the guest did: accesses to slots, bounded and with a count of what was dropped; rules that it
//! broke at the board; and which access it was when a device says that it broke a rule there.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use virtmesh_device::{EventKind, TraceEvent};

use crate::wire::Operation;

/// Accesses that are kept until they are drained.
pub const ACCESSES_MAX: usize = 1 << 16;
/// Reasons of violations that are kept of each slot.
pub const REASONS_MAX: usize = 64;
/// Marks that are kept of each slot: a device has fewer rules ([`virtmesh_device::RULES_MAX`]).
pub const MARKS_MAX: usize = virtmesh_device::RULES_MAX;

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

/// Added to the width in the detail of an event about a write (`trace.proto`).
const DETAIL_WRITE: u8 = 0x40;

impl Logged {
    /// The access as an event of the slot's trace.
    #[must_use]
    pub fn event(&self, kind: EventKind) -> TraceEvent {
        let Operation { offset, value, .. } = self.operation;
        let write = if self.operation.is_write() {
            DETAIL_WRITE
        } else {
            0
        };
        TraceEvent {
            token: offset,
            value,
            extra: self.pc,
            ..TraceEvent::new(kind).with_detail(self.operation.width() | write)
        }
    }
}

/// A rule that the guest broke at a slot, or beside them: how often, and the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The slot; `None`: an address where nothing is.
    pub slot: Option<usize>,
    /// Why: a reason of the device, such as `"MISALIGNED"`, or the name of a quirk that took care of it.
    pub reason: String,
    /// In words, of the first time.
    pub message: String,
    /// How often.
    pub count: u64,
    /// Where the instruction of the first time is.
    pub pc: u64,
    /// Offset in the slot's window, or physical address.
    pub address: u64,
    /// Width in bytes, with [`crate::wire::OP_WRITE`] added for a write.
    pub op: u8,
    /// What was written; 0 of a read.
    pub value: u64,
    /// `CLOCK_MONOTONIC` before the access, in ns.
    pub time_ns: u64,
    /// Its number in the slot's trace.
    pub sequence: Option<u64>,
}

/// A request in whose answer the device said that a rule was broken for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Tag of the request.
    pub tag: u32,
    /// The accesses that it was made for, in order: held writes, and what came after them.
    pub accesses: Vec<Logged>,
}

/// The log. Any thread reads it.
#[derive(Debug, Default)]
pub struct AccessLog {
    on: AtomicBool,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    accesses: VecDeque<Logged>,
    dropped: u64,
    violations: BTreeMap<(Option<usize>, String), Violation>,
    marks: BTreeMap<usize, Vec<Mark>>,
    marks_made: u64,
}

impl AccessLog {
    /// Log accesses, or stop it. Violations are always counted.
    pub fn set_on(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
    }

    /// Log an access, if logging is on. The oldest one makes room.
    pub fn note(&self, access: impl FnOnce() -> Logged) {
        if self.on.load(Ordering::Relaxed) {
            let kept = &mut *self.kept();
            if kept.accesses.len() >= ACCESSES_MAX {
                kept.accesses.pop_front();
                kept.dropped += 1;
            }
            kept.accesses.push_back(access());
        }
    }

    /// Count a violation. `first` is asked for the first of a slot and reason. Reasons come from devices:
    /// of each slot a bounded number is kept.
    pub fn violation(&self, slot: Option<usize>, reason: &str, first: impl FnOnce() -> Violation) {
        let violations = &mut self.kept().violations;
        if let Some(known) = violations.get_mut(&(slot, reason.to_owned())) {
            known.count += 1;
            return;
        }
        let of_slot = (slot, String::new())..;
        let of_slot = violations
            .range(of_slot)
            .take_while(|(key, _)| key.0 == slot);
        if of_slot.count() < REASONS_MAX {
            violations.insert((slot, reason.to_owned()), first());
        }
    }

    /// Keep which access a request was made for. A device that says more often than it can that a rule was
    /// broken is not listened to.
    pub fn mark(&self, slot: usize, mark: Mark) {
        let mut kept = self.kept();
        kept.marks_made += 1;
        let marks = kept.marks.entry(slot).or_default();
        if marks.len() < MARKS_MAX {
            marks.push(mark);
        }
    }

    /// Take all accesses, oldest first.
    pub fn drain_accesses(&self) -> Vec<Logged> {
        std::mem::take(&mut self.kept().accesses).into()
    }

    /// All violations, by the time of the first one.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found: Vec<_> = self.kept().violations.values().cloned().collect();
        found.sort_by_key(|violation| violation.time_ns);
        found
    }

    /// The marks of a slot, oldest first.
    pub fn marks(&self, slot: usize) -> Vec<Mark> {
        self.kept().marks.get(&slot).cloned().unwrap_or_default()
    }

    /// Marks that were ever made, those too that had no room.
    pub fn marks_made(&self) -> u64 {
        self.kept().marks_made
    }

    /// Forget the marks of a slot: another connection begins, whose tags are its own.
    pub fn clear_marks(&self, slot: usize) {
        self.kept().marks.remove(&slot);
    }

    /// Forget violations and marks: another guest begins.
    pub fn clear_violations(&self) {
        let mut kept = self.kept();
        kept.violations.clear();
        kept.marks.clear();
    }

    /// Accesses that were dropped for want of room.
    pub fn dropped(&self) -> u64 {
        self.kept().dropped
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing panics while it is held.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

    fn violation(slot: Option<usize>, reason: &str, time_ns: u64) -> Violation {
        Violation {
            slot,
            reason: reason.into(),
            message: String::new(),
            count: 1,
            pc: 0,
            address: 0,
            op: 4,
            value: 0,
            time_ns,
            sequence: None,
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

    #[test]
    fn a_million_violations_of_one_rule_are_one_entry_with_the_first_time() {
        let log = AccessLog::default();
        for time in 1..=1_000_000 {
            log.violation(Some(1), "quirk", || violation(Some(1), "quirk", time));
        }
        let [only] = &log.violations()[..] else {
            panic!("one entry");
        };
        assert_eq!((only.count, only.time_ns), (1_000_000, 1));
        assert_eq!(log.dropped(), 0);
    }

    #[test]
    fn what_a_device_can_make_a_board_keep_is_bounded() {
        let log = AccessLog::default();
        for number in 0..2 * REASONS_MAX {
            let reason = number.to_string();
            log.violation(Some(0), &reason, || violation(Some(0), &reason, 1));
        }
        log.violation(Some(1), "other", || violation(Some(1), "other", 2));
        log.violation(None, "hole", || violation(None, "hole", 3));
        assert_eq!(log.violations().len(), REASONS_MAX + 2);
        for tag in 0..2 * MARKS_MAX {
            let (tag, accesses) = (tag.try_into().unwrap(), vec![access(0)]);
            log.mark(0, Mark { tag, accesses });
        }
        assert_eq!((log.marks(0).len(), log.marks(0)[0].tag), (MARKS_MAX, 0));
        log.clear_marks(0);
        assert!(log.marks(0).is_empty());
    }
}
