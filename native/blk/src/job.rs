//! A request that is submitted to an engine, from its first system call to the element to push.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use virtmesh_device::{EventKind, FaultKind, Hit, Interrupt, Recorder, TraceEvent, now};

use crate::disk::{Disk, Step, is_lost};
use crate::failure::{Cause, Failed};
use crate::fault;
use crate::request::{Operation, Request, Status, Used};
use crate::running::{Running, Turn};

/// Largest read or write that may be executed on the thread of its queue, in bytes.
///
/// The pool costs two wake-ups per request: a single 4 KiB read takes 39 us on the pool and 19 us on the
/// thread of the queue, a single write 44 us and 21 us (medians of `examples/blk_bench.rs` on 2 cores).
/// Such reads use the page cache only (`RWF_NOWAIT`), so they never wait for the storage. For writes,
/// see `desk`.
const INLINE_LIMIT: u64 = 64 << 10;

/// Receives the completions of jobs: the queue that they came from.
pub trait CompletionSink: Send + Sync {
    /// Push used chains.
    fn complete(&self, used: &[Used]);

    /// Forget jobs that were not executed to their end, since the queue was abandoned. Their requests
    /// are dropped already.
    fn discard(&self, count: usize);

    /// The requests of the queue that are being executed.
    fn running(&self) -> &Running;

    /// True while a request that the storage failed may be held: not once the queue is being stopped.
    fn may_hold(&self) -> bool {
        true
    }

    /// The interrupt of the device, which has its faults on demand, and the index of this queue.
    fn interrupt(&self) -> Option<(&Interrupt, usize)> {
        None
    }

    /// The flight recorder of the device, and the index of this queue.
    fn recorder(&self) -> Option<(&Recorder, usize)> {
        let (interrupt, queue) = self.interrupt()?;
        Some((interrupt.recorder()?, queue))
    }
}

/// A request that is submitted to an engine.
pub struct Job {
    /// The request.
    pub request: Request,
    /// The disk it is for.
    pub disk: Arc<Disk>,
    /// Receives its completion.
    pub sink: Arc<dyn CompletionSink>,
    /// When it was popped from its queue ([`now`]).
    pub started_ns: u64,
    /// True once its execution was recorded as started.
    pub begun: bool,
    /// The fault that takes hold of it.
    pub fault: Option<Hit>,
    /// Its place among those that run, of one that was held.
    pub turn: Option<Turn>,
    /// Complete it, even if the storage fails it.
    pub is_last_try: bool,
    /// How often held jobs had been given up when it was held last; None of one that never was.
    pub held_at: Option<u64>,
}

/// What is left to do with a job that was executed.
pub enum Outcome {
    /// To push its chain.
    Done(Used),
    /// To try it again: the storage failed it.
    Held(Box<Job>),
    /// Nothing: a reset abandoned its queue.
    Dropped,
}

impl Outcome {
    /// What is to be pushed, if it is.
    #[must_use]
    pub fn used(self) -> Option<Used> {
        match self {
            Self::Done(used) => Some(used),
            Self::Held(_) | Self::Dropped => None,
        }
    }
}

/// How the execution of a job ended.
enum End {
    /// It is to be completed.
    Done(Used),
    /// It is to be tried again.
    Held(Box<Job>),
    /// A reset abandoned its queue: it is to be discarded.
    Abandoned,
    /// A reset abandoned its queue while it was parked, and has counted it.
    TakenAway,
}

impl Job {
    /// A request that no fault takes hold of, not begun yet. `started_ns`: when it was popped.
    #[must_use]
    pub fn new(
        request: Request,
        disk: Arc<Disk>,
        sink: Arc<dyn CompletionSink>,
        started_ns: u64,
    ) -> Self {
        Self {
            request,
            disk,
            sink,
            started_ns,
            begun: false,
            fault: None,
            turn: None,
            is_last_try: false,
            held_at: None,
        }
    }

    /// Execute it now and write the result into its chain.
    ///
    /// `free_ns` is the time since which this thread is free; it is updated to the time of completion.
    #[must_use]
    pub fn execute(self, free_ns: &mut u64) -> Outcome {
        let sink = Arc::clone(&self.sink);
        match self.run(free_ns) {
            End::Done(used) => Outcome::Done(used),
            End::Held(job) => Outcome::Held(job),
            End::Abandoned => {
                sink.discard(1);
                Outcome::Dropped
            }
            End::TakenAway => Outcome::Dropped,
        }
    }

    fn run(mut self, free_ns: &mut u64) -> End {
        let (sink, disk) = (Arc::clone(&self.sink), Arc::clone(&self.disk));
        let running = sink.running();
        let Some(turn) = self.turn.or_else(|| running.begin(&self.request)) else {
            return End::Abandoned;
        };
        self.begin(*free_ns);
        if self.turn.is_some() && self.is_error_on_demand() {
            let device = sink.interrupt();
            self.fault = device
                .and_then(|(interrupt, queue)| fault::of_retry(interrupt, queue, &self.request));
        }
        // A panic leaves no half-changed state: a request touches atomics, files and guest memory.
        let step = catch_unwind(AssertUnwindSafe(|| {
            disk.execute_with(self.fault.as_ref(), &self.request, running.abandoned())
        }));
        let step = step.unwrap_or_else(|_| Step::Done(disk.give_up(Failed::of(&self.request))));
        let (job, status) = match step {
            Step::Done(status) => {
                running.end(turn);
                (self, status)
            }
            Step::Failed(cause) => {
                // One that is tried again has told why before.
                if self.turn.is_none() {
                    disk.failures.add(Failed::of(&self.request), cause.clone());
                }
                if self.may_be_held(&cause) {
                    self.hold(turn, &cause);
                    return End::Held(Box::new(self));
                }
                running.end(turn);
                (self, Status::IoErr)
            }
            Step::Flush if is_lost(self.fault.as_ref()) => {
                running.end(turn);
                (self, Status::Ok)
            }
            Step::Flush => match self.flush(running, turn) {
                Ok(flushed) => flushed,
                Err(end) => return end,
            },
        };
        if status != Status::Ok && running.is_abandoned() {
            return End::Abandoned;
        }
        End::Done(job.complete(status, free_ns))
    }

    fn may_be_held(&self, cause: &Cause) -> bool {
        self.disk.holds_failed()
            && !self.is_last_try
            && cause.may_mend()
            && self.sink.may_hold()
            && !self.sink.running().is_abandoned()
    }

    /// Take note that it is tried again.
    fn hold(&mut self, turn: Turn, cause: &Cause) {
        self.sink.running().hold(turn, cause.name());
        let errno = u64::try_from(cause.errno).unwrap_or(0);
        self.record(now(), EventKind::RequestHeld, errno, 0);
        self.turn = Some(turn);
        self.begun = false;
    }

    /// Drop it, since its queue was abandoned while it was held.
    pub(crate) fn forget(self) {
        if let Some(turn) = self.turn {
            self.sink.running().end(turn);
        }
    }

    /// Flush, with the request parked: a reset does not wait for it. The error is how a reset ended it.
    fn flush(self, running: &Running, turn: Turn) -> Result<(Self, Status), End> {
        let Self {
            request,
            disk,
            sink,
            started_ns,
            begun,
            fault,
            turn: _,
            is_last_try,
            held_at: _,
        } = self;
        let about = Failed::of(&request);
        let is_flush = request.operation == Operation::Flush;
        let submitted = is_flush.then_some(request.submitted);
        if !running.park(turn, request) {
            return Err(End::Abandoned);
        }
        let status = catch_unwind(AssertUnwindSafe(|| disk.flush(about, submitted)))
            .unwrap_or_else(|_| disk.give_up(about));
        let request = running.end(turn).ok_or(End::TakenAway)?;
        let job = Self {
            begun,
            fault,
            is_last_try,
            ..Self::new(request, disk, sink, started_ns)
        };
        Ok((job, status))
    }

    /// Record that it is being executed, once.
    pub(crate) fn begin(&mut self, time_ns: u64) {
        if !mem::replace(&mut self.begun, true) {
            let (sector, bytes) = (self.request.sector(), self.request.bytes());
            self.record(time_ns, EventKind::RequestStart, sector, bytes);
        }
    }

    fn record(&self, time_ns: u64, kind: EventKind, value: u64, extra: u64) {
        if let Some((recorder, queue)) = self.sink.recorder() {
            let event = TraceEvent::of_chain(kind, queue, self.request.head, value, extra);
            recorder.record_at(
                time_ns,
                [event.with_detail(self.request.request_type.number())],
            );
        }
    }

    fn complete(&self, status: Status, free_ns: &mut u64) -> Used {
        let used = self.request.complete(status);
        *free_ns = now();
        self.record(*free_ns, EventKind::RequestEnd, status as u64, 0);
        let busy = Duration::from_nanos(free_ns.saturating_sub(self.started_ns));
        self.disk.stats.count(
            self.request.request_type,
            status,
            self.request.bytes(),
            busy,
        );
        used
    }

    /// Complete it: it was executed elsewhere, whole.
    pub(crate) fn succeed(&self, free_ns: &mut u64) -> Used {
        self.complete(Status::Ok, free_ns)
    }

    /// True for a read or a write that is to be executed as it is, with nothing to do before or after it.
    pub(crate) fn is_plain(&self) -> bool {
        let is_alone = self.fault.is_none() && self.turn.is_none() && !self.is_last_try;
        is_alone
            && match self.request.operation {
                Operation::Read { .. } => true,
                Operation::Write { .. } => self.disk.write_back() && self.disk.log().is_none(),
                _ => false,
            }
    }

    /// Read from the page cache, if it is a small read and all of it is there.
    pub(crate) fn read_cached(&mut self, free_ns: &mut u64) -> Option<Used> {
        let Operation::Read { offset } = self.request.operation else {
            return None;
        };
        if self.request.writable().len() > INLINE_LIMIT {
            return None;
        }
        self.begin(*free_ns);
        let done = self
            .disk
            .image
            .read_cached(&self.request.writable(), offset);
        done.then(|| self.complete(Status::Ok, free_ns))
    }

    fn is_error_on_demand(&self) -> bool {
        self.fault.is_some_and(|hit| hit.kind == FaultKind::IoError)
    }

    /// True for what needs no storage.
    pub(crate) fn is_immediate(&self) -> bool {
        self.is_error_on_demand()
            || matches!(
                self.request.operation,
                Operation::Identify | Operation::Refuse(_)
            )
    }

    /// True for a small write into the page cache that is not followed by a flush.
    pub(crate) fn is_small_write(&self) -> bool {
        matches!(self.request.operation, Operation::Write { .. })
            && self.request.readable().len() <= INLINE_LIMIT
            && self.disk.write_back()
            && self.disk.image.direct().is_none()
    }

    /// True for jobs that may take long, however little data they move.
    pub(crate) fn is_slow(&self) -> bool {
        match self.request.operation {
            Operation::Flush | Operation::Discard(_) | Operation::WriteZeroes(_) => true,
            Operation::Write { .. } => !self.disk.write_back(),
            Operation::Read { .. } | Operation::Identify | Operation::Refuse(_) => false,
        }
    }
}
