//! The thread of one running queue.
//!
//! Invariant: only the thread pops chains (`AvailConsumer`). The thread that completes a request pushes
//! its chain under the lock of the `UsedProducer`. `active` counts the thread itself and every popped
//! chain that is not pushed with its interrupt raised. At 0 the queue is stopped for good: the ring is
//! dropped, and nothing accesses it any more. Nothing here waits for the driver.
//!
//! There are two ways to stop. A stop that was requested completes every popped chain. One by `abandon`
//! is for a reset: chains that were not begun, and flushes, are dropped ([`Running`]).

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use virtmesh_device::{EventFd, EventKind, Interrupt, Kick, NOTIFY_WAY_EVENTFD, TraceEvent, now};
use virtmesh_ring::{
    AvailConsumer, AvailState, Chain, DeviceQueue, GuestRam, RingState, UsedProducer, chain_totals,
};

use crate::disk::Disk;
use crate::doorbell;
use crate::engine::Engine;
use crate::fault;
use crate::held;
use crate::job::{CompletionSink, Job};
use crate::request::{Request, Used};
use crate::running::{Running, RunningRequest};
use crate::told::Told;
use crate::violation;

/// Most chains popped at once. If they are executed at once, their completions are published together,
/// so a larger batch delays the first of them.
const BATCH: usize = 32;

/// A queue that was started.
pub struct Worker {
    shared: Arc<Shared>,
}

struct Shared {
    index: usize,
    /// Entries of the ring.
    size: u16,
    /// None once stopped: it keeps guest memory mapped.
    producer: Mutex<Option<UsedProducer>>,
    interrupt: Arc<Interrupt>,
    wake: EventFd,
    stopping: AtomicBool,
    active: AtomicUsize,
    running: Running,
    /// The available half of the ring's state, once the thread has ended.
    avail_state: OnceLock<AvailState>,
    /// The state from which the queue continues, once it is stopped.
    stopped: Mutex<Option<RingState>>,
    stopped_changed: Condvar,
}

/// The state that only the thread accesses.
struct QueueThread {
    shared: Arc<Shared>,
    consumer: AvailConsumer,
    memory: GuestRam,
    kick: Option<Kick>,
    disk: Arc<Disk>,
    engine: Arc<dyn Engine>,
}

impl Worker {
    /// Start the thread of queue `index`, with `size` entries. It reads the ring at once.
    ///
    /// # Errors
    /// When the system has no threads left.
    pub fn start(
        (index, size): (usize, u16),
        queue: DeviceQueue,
        memory: &GuestRam,
        interrupt: Arc<Interrupt>,
        kick: Option<Kick>,
        disk: Arc<Disk>,
        engine: Arc<dyn Engine>,
    ) -> io::Result<Self> {
        let (consumer, producer) = queue.split();
        let shared = Arc::new(Shared {
            index,
            size,
            producer: Mutex::new(Some(producer)),
            interrupt,
            wake: EventFd::new()?,
            stopping: AtomicBool::new(false),
            active: AtomicUsize::new(1),
            running: Running::default(),
            avail_state: OnceLock::new(),
            stopped: Mutex::new(None),
            stopped_changed: Condvar::new(),
        });
        let thread = QueueThread {
            shared: Arc::clone(&shared),
            consumer,
            memory: memory.clone(),
            kick,
            disk,
            engine,
        };
        thread::Builder::new()
            .name(format!("blk-queue-{index}"))
            .spawn(move || thread.run())?;
        Ok(Self { shared })
    }

    /// Notify the queue.
    pub fn kick(&self) {
        self.shared.wake.signal();
    }

    /// Request a stop: no more chains are popped. What is held is tried once more.
    pub fn request_stop(&self, engine: Option<&dyn Engine>) {
        self.shared.request_stop();
        if let Some(engine) = engine {
            engine.retry(false);
        }
    }

    /// Request a stop that drops what was not begun, and flushes, once its thread has ended.
    pub fn abandon(&self, engine: Option<&dyn Engine>) {
        self.shared.request_stop();
        let taken_away = self.shared.running.abandon();
        if taken_away > 0 {
            self.shared.release(taken_away);
        }
        if let Some(engine) = engine {
            engine.discard(&(Arc::clone(&self.shared) as Arc<dyn CompletionSink>));
        }
    }

    /// The request that has been executed longest. It may be waiting for the storage.
    #[must_use]
    pub fn oldest(&self) -> Option<RunningRequest> {
        self.shared.running.oldest()
    }

    /// Requests that the storage failed, and that are tried again.
    #[must_use]
    pub fn held(&self) -> usize {
        self.shared.running.held()
    }

    /// True if the thread has ended and every popped chain is pushed or dropped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.state().is_some()
    }

    /// The state from which the queue continues: see [`DeviceQueue::state`]. None until it is stopped.
    #[must_use]
    pub fn state(&self) -> Option<RingState> {
        *self.shared.stopped()
    }

    /// Requests being executed.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        // The thread itself counts as one, while it lives.
        self.shared.active.load(Ordering::SeqCst).saturating_sub(1)
    }

    /// Wait until it is stopped, at most for `limit`. True if it is.
    #[must_use]
    pub fn join(&self, limit: Duration) -> bool {
        let stopped = self.shared.stopped();
        let waited = self
            .shared
            .stopped_changed
            .wait_timeout_while(stopped, limit, |state| state.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.is_some()
    }
}

impl Shared {
    fn request_stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.wake.signal();
    }

    fn producer(&self) -> MutexGuard<'_, Option<UsedProducer>> {
        self.producer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped(&self) -> MutexGuard<'_, Option<RingState>> {
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
    fn record_chains(&self, time_ns: u64, events: impl ExactSizeIterator<Item = TraceEvent>) {
        if let Some(recorder) = self.interrupt.recorder() {
            recorder.record_at(time_ns, events);
        }
    }

    /// Set `DEVICE_NEEDS_RESET`, and pop no more chains.
    fn fail(&self, reason: &str) {
        self.interrupt
            .set_fault(&format!("queue {}: {reason}", self.index));
        self.request_stop();
    }

    /// Subtract pushed chains, or the thread itself, from `active`.
    fn release(&self, count: usize) {
        if self.active.fetch_sub(count, Ordering::SeqCst) == count {
            let (producer, avail) = (self.producer().take(), self.avail_state.get());
            // Both are there: only the last release takes the producer, and the thread, which counts
            // too, has set its half before its own release.
            *self.stopped() = producer
                .zip(avail)
                .map(|(producer, avail)| producer.state(*avail));
            self.stopped_changed.notify_all();
        }
    }
}

impl CompletionSink for Shared {
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

impl QueueThread {
    fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        match catch_unwind(AssertUnwindSafe(|| self.serve())) {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => shared.fail(&reason),
            Err(_) => shared.fail("internal error: the queue's thread panicked"),
        }
        // Set once: this thread alone does it.
        let _ = shared.avail_state.set(self.consumer.state());
        // A batch may have been submitted after the queue was abandoned.
        if shared.running.is_abandoned() {
            let sink = Arc::clone(&shared) as Arc<dyn CompletionSink>;
            self.engine.discard(&sink);
        }
        // Memory and engine are dropped before the queue is reported as stopped.
        drop(self);
        shared.release(1);
    }

    /// Pop chains until a stop is requested. The error is the reason for a reset.
    fn serve(&mut self) -> Result<(), String> {
        let mut chains = Vec::with_capacity(BATCH);
        // Resubmitted chains come first, and are executed even if a stop is requested at once: the state
        // of a stopped queue means that nothing is in flight. That of an abandoned one means nothing.
        while self.consumer.has_resubmits() && !self.shared.running.is_abandoned() {
            self.take(&mut chains)?;
        }
        while !self.is_stopping() {
            self.consumer.disable_notifications();
            while !self.is_stopping() && self.take(&mut chains)? {}
            let more = self.consumer.enable_notifications().map_err(|cause| {
                violation::of_ring(&self.shared.interrupt, self.shared.index, &cause)
            })?;
            // A stuck queue is woken when its fault is taken back.
            let stuck = self.shared.interrupt.is_stuck(self.shared.index);
            if (!more || stuck) && !self.is_stopping() {
                doorbell::wait(&self.shared.wake, self.kick.as_ref(), || self.hear())
                    .map_err(|cause| format!("cannot wait for notifications: {cause}"))?;
            }
        }
        Ok(())
    }

    fn is_stopping(&self) -> bool {
        self.shared.stopping.load(Ordering::SeqCst)
    }

    /// Pop a batch and submit it. False if no chain was available.
    fn take(&mut self, chains: &mut Vec<Chain>) -> Result<bool, String> {
        let Some(most) = self.shared.interrupt.most_taken(self.shared.index, BATCH) else {
            return Ok(false); // stuck
        };
        let taken = self.consumer.pop_batch(most, chains);
        // Chains before a malformed one are still executed.
        let malformed = self.submit(chains);
        taken
            .map(|count| count > 0)
            .map_err(|cause| violation::of_ring(&self.shared.interrupt, self.shared.index, &cause))
            .and_then(|more| malformed.map_or(Ok(more), Err))
    }

    /// Parse chains and submit them. Returns an error text if one was not a request.
    fn submit(&self, chains: &mut Vec<Chain>) -> Option<String> {
        if chains.is_empty() {
            return None;
        }
        let (shared, started_ns) = (&self.shared, now());
        shared.record_chains(
            started_ns,
            chains.iter().map(|chain| popped(shared.index, chain)),
        );
        let limits = self.disk.request_limits();
        let mut malformed = None;
        let mut jobs = Vec::with_capacity(chains.len());
        for chain in chains.drain(..) {
            match Request::parse(&chain, &self.memory, &limits) {
                Ok(request) => jobs.push(self.job(request, started_ns)),
                Err(cause) => {
                    self.disk.stats.count_malformed();
                    violation::of_chain(&shared.interrupt, shared.index, chain.head, &cause);
                    malformed = Some(cause.to_string());
                }
            }
        }
        let mut done = Vec::with_capacity(jobs.len());
        let before = self.shared.active.fetch_add(jobs.len(), Ordering::SeqCst);
        held::take_out(&mut jobs, shared.interrupt.faults(), &self.engine);
        self.engine.submit(&mut jobs, before == 1, &mut done);
        if !done.is_empty() {
            self.shared.complete(&done);
        }
        malformed
    }

    fn job(&self, mut request: Request, started_ns: u64) -> Job {
        if request.lacks_header() {
            self.disk.stats.count_malformed();
        }
        violation::of_request(&self.shared.interrupt, self.shared.index, &request);
        let fault = fault::of_request(&self.shared.interrupt, self.shared.index, &request);
        self.disk.note_submission(&mut request, fault.as_ref());
        let sink = Arc::clone(&self.shared) as Arc<dyn CompletionSink>;
        Job {
            fault,
            ..Job::new(request, Arc::clone(&self.disk), sink, started_ns)
        }
    }

    /// Count a notification by eventfd. False if a fault loses it.
    fn hear(&self) -> bool {
        self.disk.stats.count_notification();
        let (interrupt, index) = (&self.shared.interrupt, self.shared.index);
        let notified = TraceEvent::on_queue(EventKind::Notify, index);
        interrupt.record(notified.with_detail(NOTIFY_WAY_EVENTFD));
        !interrupt.loses_notification(index)
    }
}

/// The event of a popped chain: the number of its buffers and bytes.
fn popped(queue: usize, chain: &Chain) -> TraceEvent {
    let (descriptors, bytes) = chain_totals(&chain.readable, &chain.writable);
    TraceEvent::of_chain(EventKind::Pop, queue, chain.head, descriptors as u64, bytes)
}
