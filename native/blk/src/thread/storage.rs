//! Requests that the storage executes by itself, in the ring of `io_uring` of a queue's thread.

use super::QueueThread;
use crate::uring::{Flights, Heard};

impl QueueThread {
    /// Tell the system of what was put into the ring. The error is the reason for a reset.
    pub(super) fn tell(&mut self) -> Result<(), String> {
        let told = self.flights.as_mut().map_or(Ok(()), Flights::tell);
        told.map_err(|cause| format!("the storage takes no requests: {cause}"))
    }

    /// Take what the storage has executed. What it did not do whole is done again by the engine. Returns what
    /// else the ring tells.
    pub(super) fn reap(&mut self) -> Heard {
        let Some(flights) = &mut self.flights else {
            return Heard::default();
        };
        flights.reap(self.pending.used(), &mut self.jobs);
        let heard = flights.heard();
        if !self.jobs.is_empty() {
            let mut again = self.jobs.drain(..);
            self.engine.submit(&mut again, self.pending.used());
        }
        if self.pending.is_full() {
            self.publish();
        }
        heard
    }

    /// Wait for all that the storage executes, and leave the ring to the next thread.
    pub(super) fn drain(&mut self) {
        while let Some(flights) = &mut self.flights {
            if flights.in_flight() == 0 {
                // If that fails, the ring is not used again.
                let _ = flights.end();
                return;
            }
            if flights.wait().is_err() {
                return;
            }
            self.reap();
        }
    }
}
