//! `mtime`: from the host's clock or from the number of instructions.

use std::time::Instant;

/// What drives `mtime`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// The host's monotonic clock.
    Real {
        /// Ticks of `mtime` per second.
        hz: u64,
    },
    /// Retired instructions, plus the ticks added by [`advance`](crate::Hart::advance) while the
    /// hart slept in WFI. The same program sees the same times on any host.
    Instructions {
        /// Ticks of `mtime` per second: what the device tree says.
        hz: u64,
        /// Instructions per tick; 0 counts as 1.
        per_tick: u64,
    },
}

impl Time {
    /// Ticks of `mtime` per second.
    #[must_use]
    pub fn hz(&self) -> u64 {
        match *self {
            Time::Real { hz } | Time::Instructions { hz, .. } => hz,
        }
    }
}

/// The counter `mtime`.
#[derive(Debug)]
pub(crate) struct Clock {
    time: Time,
    start: Instant,
    /// Added to the ticks that the source gives.
    offset: u64,
}

impl Clock {
    pub fn new(time: Time) -> Self {
        Self {
            time,
            start: Instant::now(),
            offset: 0,
        }
    }

    /// `mtime` when `retired` instructions have retired.
    pub fn now(&self, retired: u64) -> u64 {
        self.offset.wrapping_add(self.source(retired))
    }

    pub fn set(&mut self, value: u64, retired: u64) {
        self.offset = value.wrapping_sub(self.source(retired));
    }

    /// Add the ticks of a sleep. In real time they have passed already.
    pub fn advance(&mut self, ticks: u64) {
        if matches!(self.time, Time::Instructions { .. }) {
            self.offset = self.offset.wrapping_add(ticks);
        }
    }

    /// Instructions until `mtime` reaches `deadline`, if instructions drive it.
    pub fn instructions_until(&self, deadline: u64, retired: u64) -> Option<u64> {
        let Time::Instructions { per_tick, .. } = self.time else {
            return None;
        };
        let per_tick = per_tick.max(1);
        let ticks = deadline.checked_sub(self.now(retired))?;
        Some(
            ticks
                .saturating_mul(per_tick)
                .saturating_sub(retired % per_tick),
        )
    }

    #[allow(clippy::cast_possible_truncation)] // 2^64 ticks are 58,000 years of 10 MHz
    fn source(&self, retired: u64) -> u64 {
        match self.time {
            Time::Real { hz } => {
                (self.start.elapsed().as_nanos() * u128::from(hz) / 1_000_000_000) as u64
            }
            Time::Instructions { per_tick, .. } => retired / per_tick.max(1),
        }
    }
}
