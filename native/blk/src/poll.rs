//! When the thread of a queue polls its ring before it sleeps.
//!
//! Where the driver runs on another processor, waking this thread takes longer than most of what it waits
//! for. But each poll that ends without a chain has cost its whole time, and the processor may be wanted. So
//! the thread learns, as the halt polling of KVM does, but not how long to poll: how long it waits cannot be
//! measured without polling, since the time of being woken counts in. It learns how often:
//! - A poll that wins gives credit for some that lose. While there is credit, it polls before each sleep.
//! - Without credit, it sleeps a number of times before the next poll. That number doubles with each loss,
//!   and with each wait that was longer than a poll and being woken, which takes all credit too.
//! - Where it may use several processors, each short wait brings the next poll nearer.
//!
//! A queue that is idle costs nothing: its thread sleeps.

use std::time::Duration;

/// Most sleeps between two polls.
const PAUSE_MAX: u32 = 1024;
/// What being woken may add to a wait, in nanoseconds, for a wait to count as short.
const WAKING_NS: u64 = 200_000;
/// Losses that a win makes up for.
const CREDIT: u32 = 4;
/// Most losses in a row without a pause.
const CREDIT_MAX: u32 = 64;

/// For how long the thread of a queue polls before it sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PollLimit {
    /// At most; 0 for never.
    pub time: Duration,
    /// Also where this process may use one processor only: the driver may have another one.
    pub on_one_processor: bool,
}

/// What a thread has learned of its waits.
#[derive(Debug)]
pub(crate) struct Poller {
    limit_ns: u64,
    credit: u32,
    /// Sleeps until the next poll.
    left: u32,
    /// Sleeps after the next poll that loses.
    pause: u32,
}

impl Poller {
    /// Poll for this time at most; never if it is 0.
    pub(crate) fn new(limit: Duration) -> Self {
        Self {
            limit_ns: u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX),
            credit: 0,
            left: 0,
            pause: 1,
        }
    }

    /// For how long to poll now, in nanoseconds; None if the thread is to sleep at once.
    pub(crate) fn begin(&mut self) -> Option<u64> {
        if self.left > 0 {
            self.left -= 1;
            return None;
        }
        (self.limit_ns > 0).then_some(self.limit_ns)
    }

    /// A poll has ended, with a chain or without.
    pub(crate) fn end(&mut self, has_won: bool) {
        if has_won {
            self.credit = (self.credit + CREDIT).min(CREDIT_MAX);
            self.pause = 1;
        } else if self.credit > 0 {
            self.credit -= 1;
        } else {
            self.rest();
        }
    }

    /// The thread had nothing to do for a time, and slept. `is_free`: it has several processors.
    pub(crate) fn slept(&mut self, waited_ns: u64, is_free: bool) {
        if waited_ns > self.limit_ns + WAKING_NS {
            self.credit = 0;
            self.rest();
        } else if is_free {
            self.left /= 2;
        }
    }

    fn rest(&mut self) {
        self.left = self.left.max(self.pause);
        self.pause = (2 * self.pause).min(PAUSE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_micros(50);

    /// Wait so many times in vain; returns how often it polled.
    fn polls(poller: &mut Poller, waits: u32, waited: Duration, is_free: bool) -> u32 {
        let mut polls = 0;
        for _ in 0..waits {
            if poller.begin().is_some() {
                polls += 1;
                poller.end(false);
            }
            poller.slept(u64::try_from(waited.as_nanos()).unwrap(), is_free);
        }
        polls
    }

    #[test]
    fn polls_that_win_go_on_without_end() {
        let mut poller = Poller::new(LIMIT);
        for _ in 0..1000 {
            assert_eq!(poller.begin(), Some(50_000));
            poller.end(true);
        }
    }

    #[test]
    fn long_waits_are_hardly_ever_polled() {
        let mut poller = Poller::new(LIMIT);
        let tried = polls(&mut poller, 100_000, Duration::from_millis(10), true);
        assert!((1..200).contains(&tried), "{tried}");
    }

    #[test]
    fn a_queue_that_becomes_busy_is_polled_soon() {
        let mut poller = Poller::new(LIMIT);
        polls(&mut poller, 100_000, Duration::from_millis(10), true);
        assert!(polls(&mut poller, 20, Duration::from_micros(90), true) > 0);
    }

    #[test]
    fn where_nobody_can_run_beside_short_waits_are_hardly_ever_polled() {
        let mut poller = Poller::new(LIMIT);
        let tried = polls(&mut poller, 100_000, Duration::from_micros(10), false);
        assert!((1..200).contains(&tried), "{tried}");
    }

    #[test]
    fn one_win_in_five_is_enough() {
        let mut poller = Poller::new(LIMIT);
        for wait in 0..1000 {
            assert!(poller.begin().is_some(), "{wait}");
            poller.end(wait % 5 == 0);
            poller.slept(90_000, false);
        }
    }

    #[test]
    fn a_limit_of_0_turns_it_off() {
        let mut poller = Poller::new(Duration::ZERO);
        assert_eq!(polls(&mut poller, 100, Duration::from_micros(1), true), 0);
    }
}
