//! Completions of the thread of a queue that the driver has not been told of yet.
//!
//! They are published together: each publication costs the lock of the ring, the line of memory that the
//! driver reads, and an interrupt if the driver waits. How many may wait for others follows from what the
//! driver does meanwhile. Where it runs beside this thread it gets half of what it keeps in flight: it works
//! on that while the other half is executed, and if it sleeps, it begins to wake. Where it runs on the
//! processor of this thread, an early interrupt only takes the processor away, for half of the work; so it
//! gets all at once. Which of both it is shows in how often this thread is taken off its processor while it
//! publishes by halves: each interrupt does it, or hardly any.
//!
//! Whenever the ring is empty, all are published: none waits for what the driver has not sent yet.

use crate::processors::preemptions;
use crate::request::Used;

/// Most that are published at once.
const MANY: usize = 32;
/// Full publications until it is judged whether the driver runs beside.
const TRIAL: u64 = 64;
/// One preemption in so many publications shows that it does not.
const SHARE: u64 = 4;
/// Until a few at a time are tried again, in nanoseconds, and the longest of these times.
const AGAIN_NS: u64 = 50_000_000;
const AGAIN_MAX_NS: u64 = 1_600_000_000;

/// Completed and not published.
pub(crate) struct Pending {
    used: Vec<Used>,
    is_beside: bool,
    /// Most requests that were in flight at once, since the trial began and before.
    depth: [usize; 2],
    /// Full publications since the trial began.
    published: u64,
    /// Preemptions when it began.
    preempted: u64,
    /// When it is tried again, and the time until the trial after that.
    again_at_ns: u64,
    again_ns: u64,
}

impl Pending {
    pub(crate) fn new() -> Self {
        Self {
            used: Vec::with_capacity(MANY),
            is_beside: false,
            depth: [0; 2],
            published: 0,
            preempted: 0,
            again_at_ns: 0,
            again_ns: AGAIN_NS,
        }
    }

    /// Judge at the beginning of a batch, with so many requests in flight.
    pub(crate) fn judge(&mut self, now_ns: u64, in_flight: usize) {
        self.depth[0] = self.depth[0].max(in_flight);
        if !self.is_beside {
            if now_ns >= self.again_at_ns {
                self.is_beside = true;
                self.begin_trial();
            }
        } else if self.published >= TRIAL {
            let preempted = preemptions().saturating_sub(self.preempted);
            if preempted * SHARE >= self.published {
                self.is_beside = false;
                self.again_at_ns = now_ns + self.again_ns;
                self.again_ns = (2 * self.again_ns).min(AGAIN_MAX_NS);
            } else {
                self.again_ns = AGAIN_NS;
                self.begin_trial();
            }
        }
    }

    fn begin_trial(&mut self) {
        self.published = 0;
        self.preempted = preemptions();
        self.depth = [0, self.depth[0]];
    }

    /// How many may wait to be published.
    fn most(&self) -> usize {
        if self.is_beside {
            let [now, before] = self.depth;
            (now.max(before) / 2).clamp(1, MANY / 2)
        } else {
            MANY
        }
    }

    /// Where completions are added.
    pub(crate) fn used(&mut self) -> &mut Vec<Used> {
        &mut self.used
    }

    /// How many there is room for until they are to be published: at least one.
    pub(crate) fn room(&self) -> usize {
        self.most().saturating_sub(self.used.len()).max(1)
    }

    /// True if they are to be published now.
    pub(crate) fn is_full(&self) -> bool {
        self.used.len() >= self.most()
    }

    /// Take note of a publication that did not wait for the ring to be empty.
    pub(crate) fn count(&mut self) {
        self.published += 1;
    }
}
