//! The thread that serves a queue: it pops chains, executes what is quick, and sleeps.
//!
//! Invariant: one [`QueueThread`] exists for each queue that is not stopped. The thread that has it serves
//! the queue. While a thread executes writes in line, it leaves it at the [`desk`], where another thread
//! takes it if the storage hangs.

mod storage;
mod waiting;

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::Builder;

use virtmesh_device::{EventKind, Kick, TraceEvent, now};
use virtmesh_ring::{AvailConsumer, Chain, GuestRam, RingError, chain_totals};

use crate::desk;
use crate::disk::Disk;
use crate::engine::Engine;
use crate::fault;
use crate::held;
use crate::image::Look;
use crate::job::{CompletionSink, Job};
use crate::pending::Pending;
use crate::poll::Poller;
use crate::processors::Processors;
use crate::queue::Queue;
use crate::request::Request;
use crate::uring::Flights;
use crate::violation;

/// Most chains popped at once.
const BATCH: usize = 32;

/// What whoever serves a queue needs.
pub(crate) struct QueueThread {
    pub(crate) queue: Arc<Queue>,
    pub(crate) engine: Arc<dyn Engine>,
    /// Writes that are to be executed in line.
    pub(crate) writes: VecDeque<Job>,
    pub(crate) pending: Pending,
    poller: Poller,
    processors: Processors,
    /// Requests that are executed by the storage itself.
    flights: Option<Flights>,
    consumer: AvailConsumer,
    memory: GuestRam,
    kick: Option<Kick>,
    disk: Arc<Disk>,
    /// Buffers that are used again.
    chains: Vec<Chain>,
    jobs: Vec<Job>,
    /// Why nothing is popped after the writes that are executed in line.
    broken: Option<String>,
}

/// The right to serve a queue; None once another thread has it.
pub(crate) type Seat = Option<Box<QueueThread>>;

/// Start a thread for queue `index`.
///
/// # Errors
/// When the system has no threads left.
pub(crate) fn spawn(index: usize, main: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let builder = Builder::new().name(format!("blk-queue-{index}"));
    builder.spawn(main).map(drop)
}

/// Serve a queue until it stops, or another thread serves it. The caller is counted in `active`.
pub(crate) fn run(thread: Box<QueueThread>) {
    let queue = Arc::clone(&thread.queue);
    let mut seat = Some(thread);
    let served = catch_unwind(AssertUnwindSafe(|| serve(&mut seat)));
    // What was completed before the queue failed is told before that it did.
    if let Some(thread) = &mut seat {
        thread.reap();
        thread.publish();
    }
    match served {
        Ok(Ok(())) => {}
        Ok(Err(reason)) => queue.fail(&reason),
        Err(_) => queue.fail("internal error: the queue's thread panicked"),
    }
    if let Some(mut thread) = seat {
        // That the queue failed does not wait for the storage.
        thread.drain();
        thread.publish();
        // Set once: whoever has the seat at the end does it.
        let _ = queue.avail_state.set(thread.consumer.state());
        // A batch may have been submitted after the queue was abandoned.
        if queue.running.is_abandoned() {
            let sink = Arc::clone(&queue) as Arc<dyn CompletionSink>;
            thread.engine.discard(&sink);
        }
        // Memory and engine are dropped before the queue is reported as stopped.
        drop(thread);
    }
    queue.release(1);
}

/// Pop chains until a stop is requested, or the seat is lost. The error is the reason for a reset.
fn serve(seat: &mut Seat) -> Result<(), String> {
    if let Some(thread) = seat.as_mut() {
        thread.check()?;
    }
    // Resubmitted chains come first, and are executed even if a stop is requested at once: the state
    // of a stopped queue means that nothing is in flight. That of an abandoned one means nothing.
    while seat.as_ref().is_some_and(|one| one.has_resubmits()) {
        take(seat)?;
    }
    while let Some(thread) = seat.as_mut() {
        if thread.is_stopping() {
            break;
        }
        thread.consumer.disable_notifications();
        while seat.as_ref().is_some_and(|one| !one.is_stopping()) && take(seat)? {}
        if let Some(thread) = seat.as_mut() {
            thread.wait()?;
        }
    }
    Ok(())
}

/// Pop a batch and execute or submit it. False if there was nothing to do.
fn take(seat: &mut Seat) -> Result<bool, String> {
    let Some(thread) = seat.as_mut() else {
        return Ok(false);
    };
    thread.reap();
    let (index, queue) = (thread.queue.index, Arc::clone(&thread.queue));
    let taken = match queue.interrupt.most_taken(index, BATCH) {
        Some(most) => thread.consumer.pop_batch(most, &mut thread.chains),
        None => Ok(0), // stuck
    };
    if matches!(taken, Ok(0)) {
        // The driver may answer what it is told now.
        return Ok(thread.publish());
    }
    // What was put into the ring before waits no longer; where the queue is idle, the wait itself tells of it.
    thread.tell()?;
    // Chains before a malformed one are still executed.
    let malformed = thread.parse();
    thread.submit();
    let broken = taken.map_err(|cause| violation::of_ring(&queue.interrupt, index, &cause));
    // It goes with the seat: another thread that takes it pops no more either.
    thread.broken = broken.err().or(malformed);
    if !thread.writes.is_empty() {
        desk::execute(seat);
    }
    seat.as_mut().map_or(Ok(true), |thread| thread.check())
}

impl QueueThread {
    pub(crate) fn new(
        (queue, consumer, memory): (Arc<Queue>, AvailConsumer, GuestRam),
        kick: Option<Kick>,
        disk: Arc<Disk>,
        (engine, processors): (Arc<dyn Engine>, Processors),
    ) -> Self {
        let flights = engine.flights(queue.index);
        Self {
            queue,
            engine,
            writes: VecDeque::with_capacity(BATCH),
            pending: Pending::new(),
            poller: Poller::new(disk.options.poll.time),
            processors,
            flights,
            consumer,
            memory,
            kick,
            disk,
            chains: Vec::with_capacity(BATCH),
            jobs: Vec::with_capacity(BATCH),
            broken: None,
        }
    }

    fn is_stopping(&self) -> bool {
        self.queue.stopping.load(Ordering::SeqCst)
    }

    fn has_resubmits(&self) -> bool {
        self.consumer.has_resubmits() && !self.queue.running.is_abandoned()
    }

    /// The error is why nothing is popped any more.
    fn check(&mut self) -> Result<bool, String> {
        self.broken.take().map_or(Ok(true), Err)
    }

    /// Give the engine the writes that were not begun, and publish what is completed.
    pub(crate) fn clear(&mut self) {
        let mut writes = self.writes.drain(..);
        self.engine.submit(&mut writes, self.pending.used());
        drop(writes);
        self.publish();
    }

    /// Publish what is completed. False if nothing was.
    pub(crate) fn publish(&mut self) -> bool {
        if self.pending.is_full() {
            self.pending.count();
        }
        let used = self.pending.used();
        let any = !used.is_empty();
        if any {
            self.queue.complete(used);
            used.clear();
        }
        any
    }

    /// Parse the popped chains into jobs. Returns an error text if one was not a request.
    fn parse(&mut self) -> Option<String> {
        if self.chains.is_empty() {
            return None;
        }
        let (queue, started_ns) = (Arc::clone(&self.queue), now());
        queue.record_chains(
            started_ns,
            self.chains.iter().map(|chain| popped(queue.index, chain)),
        );
        let in_flight = self.queue.active.load(Ordering::Relaxed) + self.chains.len();
        // The thread itself is counted in.
        self.pending.judge(started_ns, in_flight - 1);
        let limits = self.disk.request_limits();
        let mut malformed = None;
        let mut chains = mem::take(&mut self.chains);
        for chain in &chains {
            match Request::parse(chain, &self.memory, &limits) {
                Ok(request) => {
                    let job = self.job(request, started_ns);
                    self.jobs.push(job);
                }
                Err(cause) => {
                    self.disk.stats.count_malformed();
                    violation::of_chain(&queue.interrupt, queue.index, chain.head, &cause);
                    malformed = Some(cause.to_string());
                }
            }
        }
        chains.clear();
        self.chains = chains;
        malformed
    }

    /// Execute what never waits, and submit the rest; what is left are writes to execute in line.
    fn submit(&mut self) {
        let before = self
            .queue
            .active
            .fetch_add(self.jobs.len(), Ordering::SeqCst);
        held::take_out(&mut self.jobs, self.queue.interrupt.faults(), &self.engine);
        if let Some(flights) = &mut self.flights {
            flights.add(&mut self.jobs);
        }
        let is_alone = before == 1 && self.jobs.len() == 1;
        self.take_writes(is_alone);
        let mut jobs = mem::take(&mut self.jobs);
        let mut rest = jobs.drain(..);
        while rest.len() > 0 {
            let mut part = rest.by_ref().take(self.pending.room());
            self.engine.submit(&mut part, self.pending.used());
            if self.pending.is_full() {
                self.publish();
            }
        }
        drop(rest);
        self.jobs = jobs;
    }

    /// Take out of the jobs what is to be executed in line though it may wait.
    fn take_writes(&mut self, is_alone: bool) {
        if !self.jobs.iter().any(Job::is_small_write) || !self.queue.desk.is_open(is_alone) {
            return;
        }
        // Whoever is alone shares nothing.
        let look = (self.jobs.len() > 1).then(Look::default);
        let writes = self.jobs.extract_if(.., |job| job.is_small_write());
        self.writes.extend(writes.map(|mut job| {
            job.request.look.clone_from(&look);
            job
        }));
    }

    fn job(&self, mut request: Request, started_ns: u64) -> Job {
        if request.lacks_header() {
            self.disk.stats.count_malformed();
        }
        let (interrupt, index) = (&self.queue.interrupt, self.queue.index);
        violation::of_request(interrupt, index, &request);
        let fault = fault::of_request(interrupt, index, &request);
        self.disk.note_submission(&mut request, fault.as_ref());
        let sink = Arc::clone(&self.queue) as Arc<dyn CompletionSink>;
        Job {
            fault,
            ..Job::new(request, Arc::clone(&self.disk), sink, started_ns)
        }
    }

    /// Report that the driver broke the ring. Returns the reason for a reset.
    fn broken(&self, cause: &RingError) -> String {
        violation::of_ring(&self.queue.interrupt, self.queue.index, cause)
    }
}

/// The event of a popped chain: the number of its buffers and bytes.
fn popped(queue: usize, chain: &Chain) -> TraceEvent {
    let (descriptors, bytes) = chain_totals(&chain.readable, &chain.writable);
    TraceEvent::of_chain(EventKind::Pop, queue, chain.head, descriptors as u64, bytes)
}
