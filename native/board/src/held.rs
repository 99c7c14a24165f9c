//! Writes that the guest has gone on after, and that the device does not have yet.
//!
//! A message costs more than the accesses in it. So a write without an effect that the guest could see
//! at once is held, and goes out in front of the next access, in one request with it. That is what a
//! posted write of a real bus does: it arrives in order, and later.
//!
//! Held writes are sent, and what they lead to is awaited, before
//! - any other access of a slot: a read, a write that is not held, an access of another slot;
//! - an access of the PLIC: a line is where the guest's writes have put it;
//! - a notification: the device must not find the queue as it was before (`register.proto`);
//! - sleep in WFI, and the end of a run: whoever looks at the device then sees what the guest did;
//! - the 65th write, and [`HOLD_NS`] after the first.
//!
//! Never held is what starts, stops or resets something, or moves the line: see [`may_hold`](crate::slot::Slot::may_hold).
//!
//! Invariants: they are of one slot; while a request is under way none is held. A device that is lost
//! loses none: its writes are noted as saved when they are executed and not before, and go to the
//! device that is connected in its place.

use crate::access_log::Logged;
use crate::board::Board;
use crate::requests::Progress;

/// Most writes that are held.
const HELD_MAX: usize = 64;
/// How long a write is held, in ns: a device on a real bus is slower at times.
const HOLD_NS: u64 = 1_000_000;
/// Instructions between two looks at that time: less than a millisecond of a slow guest.
pub(crate) const SLICE: u64 = 100_000;

/// The held writes.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// All of one slot, oldest first.
    writes: Vec<Logged>,
}

impl Held {
    /// The slot that they are for.
    pub fn slot(&self) -> Option<usize> {
        self.writes.first().map(|first| first.slot)
    }

    /// Take those of a slot.
    pub fn take_of(&mut self, slot: usize) -> Vec<Logged> {
        if self.slot() == Some(slot) {
            return std::mem::take(&mut self.writes);
        }
        Vec::new()
    }

    /// Hold writes again that did not reach their device.
    pub fn put_back(&mut self, writes: Vec<Logged>) {
        let slots = (self.slot(), writes.first().map(|first| first.slot));
        debug_assert!(
            matches!(slots, (None, _) | (_, None)),
            "none is held while a request waits"
        );
        self.writes.splice(0..0, writes); // They are older than what is held, if there is any.
    }

    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Forget them: their guest or their device is no more.
    pub fn clear(&mut self) {
        self.writes.clear();
    }

    /// Say whether the oldest is held for long enough.
    fn is_due(&self) -> bool {
        let first = self.writes.first();
        first.is_some_and(|first| virtmesh_device::now().saturating_sub(first.time_ns) >= HOLD_NS)
    }
}

impl Board {
    /// Answer a write of the hart, and hold it.
    pub(crate) fn hold(&mut self, write: Logged) -> Progress {
        self.answer(write, 0);
        self.held.writes.push(write);
        if self.held.writes.len() > HELD_MAX {
            return self.flush();
        }
        Progress::Done
    }

    /// Send the held writes, and wait until they are executed.
    pub(crate) fn flush(&mut self) -> Progress {
        match self.held.slot() {
            None => Progress::Done,
            Some(slot) => self.request(slot, None, None),
        }
    }

    /// Do so unless they are for this slot: the next request to it takes them along.
    pub(crate) fn flush_others(&mut self, slot: usize) -> Progress {
        if self.held.slot() == Some(slot) {
            return Progress::Done;
        }
        self.flush()
    }

    /// Do so if it is time.
    pub(crate) fn flush_due(&mut self) -> Progress {
        if self.held.is_due() {
            return self.flush();
        }
        Progress::Done
    }
}
