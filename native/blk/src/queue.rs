//! What the threads share that serve one queue, and what completes its requests.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use virtmesh_device::{EventFd, EventKind, Interrupt, TraceEvent};
use virtmesh_ring::{AvailState, RingState, UsedProducer};

use crate::desk::Desk;
use crate::job::CompletionSink;
use crate::request::Used;
use crate::running::Running;
use crate::told::Told;

/// A queue that is served, or was.
pub(crate) struct Queue {
    pub(crate) index: usize,
    /// Entries of the ring.
    pub(crate) size: u16,
    /// None once stopped: it keeps guest memory mapped.
    pub(crate) producer: Mutex<Option<UsedProducer>>,
    pub(crate) interrupt: Arc<Interrupt>,
    pub(crate) wake: EventFd,
    pub(crate) stopping: AtomicBool,
    /// Threads that serve it, and popped chains that are not pushed with their interrupt raised.
    pub(crate) active: AtomicUsize,
    pub(crate) running: Running,
    pub(crate) desk: Desk,
    /// The available half of the ring's state, once nobody pops any more.
    pub(crate) avail_state: OnceLock<AvailState>,
    /// The state from which the queue continues, once it is stopped.
    pub(crate) stopped: Mutex<Option<RingState>>,
    pub(crate) stopped_changed: Condvar,
}

impl Queue {
    pub(crate) fn request_stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.wake.signal();
    }

    fn producer(&self) -> MutexGuard<'_, Option<UsedProducer>> {
        self.producer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stopped(&self) -> MutexGuard<'_, Option<RingState>> {
        // Nothing panics while it is held.
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publish used chains, and interrupt the driver if it wants that.
    fn publish(&self, used: &[Used]) {
        let told = Told::of(&self.interrupt, self.index, self.size, used);
        // Read before the driver can see them, and used for the interrupt too.
        let time_ns = self.interrupt.time();
        self.record_chains(
            time_ns,
            told.each().map(|(head, written)| {
                TraceEvent::of_chain(EventKind::Push, self.index, head, written.into(), 0)
            }),
        );
        let mut guard = self.producer();
        let Some(producer) = guard.as_mut() else {
            return; // Not reached: chains pushed here are counted in `active`.
        };
        let wanted = told.push(producer).map(|()| producer.needs_interrupt());
        drop(guard);
        match wanted {
            Ok(true) => self.interrupt.raise_used_at(self.index, time_ns),
            Ok(false) => self.interrupt.count_suppressed_at(self.index, time_ns),
            Err(cause) => self.fail(&cause.to_string()),
        }
    }

    /// Record events of chains.
    pub(crate) fn record_chains(
        &self,
        time_ns: u64,
        events: impl ExactSizeIterator<Item = TraceEvent>,
    ) {
        if let Some(recorder) = self.interrupt.recorder() {
            recorder.record_at(time_ns, events);
        }
    }

    /// Set `DEVICE_NEEDS_RESET`, and pop no more chains.
    pub(crate) fn fail(&self, reason: &str) {
        self.interrupt
            .set_fault(&format!("queue {}: {reason}", self.index));
        self.request_stop();
    }

    /// Subtract pushed chains, or the thread itself, from `active`.
    pub(crate) fn release(&self, count: usize) {
        if self.active.fetch_sub(count, Ordering::SeqCst) == count {
            let (producer, avail) = (self.producer().take(), self.avail_state.get());
            // Both are there: only the last release takes the producer, and the thread that has the seat,
            // which counts too, has set its half before its own release.
            *self.stopped() = producer
                .zip(avail)
                .map(|(producer, avail)| producer.state(*avail));
            self.stopped_changed.notify_all();
        }
    }
}

impl CompletionSink for Queue {
    fn complete(&self, used: &[Used]) {
        // Even after a panic they are not in flight any more: a stop must not wait for them forever.
        if catch_unwind(AssertUnwindSafe(|| self.publish(used))).is_err() {
            self.fail("internal error: completing a request panicked");
        }
        self.release(used.len());
    }

    fn discard(&self, count: usize) {
        self.release(count);
    }

    fn running(&self) -> &Running {
        &self.running
    }

    fn may_hold(&self) -> bool {
        !self.stopping.load(Ordering::SeqCst)
    }

    fn interrupt(&self) -> Option<(&Interrupt, usize)> {
        Some((&self.interrupt, self.index))
    }
}
