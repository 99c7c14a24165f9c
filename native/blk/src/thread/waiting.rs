//! How the thread of a queue waits: it polls its ring for a while, if that may win, and sleeps.

use std::hint;
use std::io;

use virtmesh_device::{EventKind, Kick, NOTIFY_WAY_EVENTFD, TraceEvent, now};

use super::QueueThread;
use crate::doorbell;

/// Pauses of the processor between two looks at a ring that is polled.
const SPINS: u32 = 4;

impl QueueThread {
    /// Wait for chains or a stop. The ring is empty, or stuck by a fault.
    pub(super) fn wait(&mut self) -> Result<(), String> {
        let begun_ns = now();
        if self.poll(begun_ns)? {
            return Ok(());
        }
        // From here on the driver notifies. What it sent before is seen by this last look.
        let enabled = self.consumer.enable_notifications();
        let more = enabled.map_err(|cause| self.broken(&cause))?;
        // A stuck queue is woken when its fault is taken back.
        let stuck = self.queue.interrupt.is_stuck(self.queue.index);
        if (more && !stuck) || self.is_stopping() {
            return Ok(());
        }
        self.sleep()
            .map_err(|cause| format!("cannot wait for notifications: {cause}"))?;
        let is_free = self.processors.are_many(begun_ns);
        self.poller.slept(now().saturating_sub(begun_ns), is_free);
        Ok(())
    }

    /// Sleep until there is something to look at.
    fn sleep(&mut self) -> io::Result<()> {
        if self.flights.is_none() {
            return doorbell::wait(&self.queue.wake, self.kick.as_ref(), || self.hear());
        }
        while let Some(flights) = &mut self.flights {
            flights.listen(&self.queue.wake, self.kick.as_ref())?;
            let heard = self.reap();
            if heard.woken {
                self.queue.wake.drain();
            }
            let lost = heard.kicked && self.kick.as_ref().is_some_and(Kick::drain) && !self.hear();
            if heard.woken || heard.ended || !lost {
                break;
            }
        }
        Ok(())
    }

    /// Poll the ring for a while, if that may win. True if there is something to do. Notifications stay
    /// disabled meanwhile: that is a hint, so nothing depends on when the driver sees it.
    fn poll(&mut self, begun_ns: u64) -> Result<bool, String> {
        // A request that the storage executes takes longer, and its end is not seen by polling.
        if self
            .flights
            .as_ref()
            .is_some_and(|flights| flights.in_flight() > 0)
        {
            return Ok(false);
        }
        // What a fault does to notifications, it does to a thread that waits for them.
        let may_win = self.disk.options.poll.on_one_processor || self.processors.are_many(begun_ns);
        if !may_win || self.queue.interrupt.may_miss_notifications() {
            return Ok(false);
        }
        let Some(limit_ns) = self.poller.begin() else {
            return Ok(false);
        };
        let has_won = loop {
            if self.is_stopping() {
                return Ok(true);
            }
            let waiting = self.consumer.is_waiting();
            if waiting.map_err(|cause| self.broken(&cause))? {
                break true;
            }
            if now().saturating_sub(begun_ns) >= limit_ns {
                break false;
            }
            (0..SPINS).for_each(|_| hint::spin_loop());
        };
        self.poller.end(has_won);
        self.disk.stats.count_poll(has_won);
        Ok(has_won)
    }

    /// Count a notification by eventfd. False if a fault loses it.
    fn hear(&self) -> bool {
        self.disk.stats.count_notification();
        let (interrupt, index) = (&self.queue.interrupt, self.queue.index);
        let notified = TraceEvent::on_queue(EventKind::Notify, index);
        interrupt.record(notified.with_detail(NOTIFY_WAY_EVENTFD));
        !interrupt.loses_notification(index)
    }
}
