//! Executing requests: the seam for engines, and the one that uses a pool of threads.
//!
//! Invariant: a job that an engine took over is completed exactly once, whatever happens to it. A
//! panic while it is executed becomes `VIRTIO_BLK_S_IOERR`, and an engine that is dropped first
//! executes what it took.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use virtmesh_device::{EventKind, Recorder, TraceEvent, now};

use crate::disk::Disk;
use crate::request::{Operation, Request, Status, Used};

/// Largest read or write that may be executed on the thread of its queue, in bytes.
///
/// Handing a request to the pool costs two wake-ups: a lone 4 KiB read takes 39 us by way of the pool
/// and 19 us without, a lone write 44 us and 21 us (medians of `examples/blk_bench.rs` on 2 cores).
/// Reads are asked of the page cache only (`RWF_NOWAIT`), so they never wait for the storage; for
/// writes, see [`SyncEngine`].
const INLINE_LIMIT: u64 = 64 << 10;
/// Most fast jobs that are taken while a slow one could be: so that reads and writes, however many
/// come, never keep a flush waiting for ever.
const MAX_FAST_BEFORE_SLOW: u32 = 32;

/// Where the completions of jobs go: the queue they came from.
pub trait CompletionSink: Send + Sync {
    /// Give chains back to the driver. Called once for each job the engine took over.
    fn complete(&self, used: &[Used]);

    /// The flight recorder of the device, and the index of this queue.
    fn recorder(&self) -> Option<(&Recorder, usize)> {
        None
    }
}

/// A request on its way.
pub struct Job {
    /// The request.
    pub request: Request,
    /// The disk it is for.
    pub disk: Arc<Disk>,
    /// Who waits for it.
    pub sink: Arc<dyn CompletionSink>,
    /// When it left its queue ([`now`]).
    pub started_ns: u64,
    /// True once its execution has begun, and is recorded.
    pub begun: bool,
}

impl Job {
    /// Execute it now, write the answer into its chain, and count it.
    #[must_use]
    pub fn run(&mut self) -> Used {
        // Reading the clock costs ten times as much as recording.
        let mut free_ns = self.sink.recorder().map_or(0, |_| now());
        self.run_at(&mut free_ns)
    }

    /// The same, beginning when this thread was free; it is free again when this returns.
    fn run_at(&mut self, free_ns: &mut u64) -> Used {
        self.begin(*free_ns);
        // Nothing is left half-changed by a panic: a request touches atomics, files and guest memory.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.disk.execute(&self.request)));
        self.answer(outcome.unwrap_or(Status::IoErr), free_ns)
    }

    /// Record that it is being executed, once.
    fn begin(&mut self, time_ns: u64) {
        if !std::mem::replace(&mut self.begun, true) {
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

    fn answer(&self, status: Status, free_ns: &mut u64) -> Used {
        let used = self.request.answer(status);
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

    /// Try to execute it without waiting for the storage.
    fn run_cached(&mut self, free_ns: &mut u64) -> Option<Used> {
        let small = self.request.writable.len() <= INLINE_LIMIT;
        let done = match self.request.operation {
            Operation::Read { offset } if small => {
                self.begin(*free_ns);
                self.disk.image.read_cached(&self.request.writable, offset)
            }
            Operation::Identify => return Some(self.run_at(free_ns)),
            Operation::Refuse(_) if small => return Some(self.run_at(free_ns)),
            _ => false,
        };
        done.then(|| self.answer(Status::Ok, free_ns))
    }

    /// True for a small write that is not followed by a flush.
    fn is_small_write(&self) -> bool {
        matches!(self.request.operation, Operation::Write { .. })
            && self.request.readable.len() <= INLINE_LIMIT
            && self.disk.write_back()
    }

    /// True for what may take long, however little data it moves.
    fn is_slow(&self) -> bool {
        match self.request.operation {
            Operation::Flush | Operation::Discard(_) | Operation::WriteZeroes(_) => true,
            Operation::Write { .. } => !self.disk.write_back(),
            Operation::Read { .. } | Operation::Identify | Operation::Refuse(_) => false,
        }
    }
}

/// Executes jobs.
pub trait Engine: Send + Sync {
    /// Take all of `jobs`. What was executed at once is appended to `done`, for the caller to give
    /// back; the rest completes later, through its sink, in any order.
    ///
    /// `alone` says that the caller has no other jobs in flight.
    fn submit(&self, jobs: &mut Vec<Job>, alone: bool, done: &mut Vec<Used>);
}

/// Blocking system calls on a pool of threads.
///
/// What the page cache answers is executed at once, and so is a small write while nothing else is in
/// flight: there is nobody behind it whom it could keep waiting if the kernel makes it wait.
pub struct SyncEngine {
    pool: Arc<Pool>,
    threads: Vec<JoinHandle<()>>,
}

struct Pool {
    queues: Mutex<Queues>,
    filled: Condvar,
    /// Threads that may execute slow jobs at a time: one less than there are, so that flushes never
    /// keep reads and writes waiting.
    slow_limit: usize,
}

#[derive(Default)]
struct Queues {
    fast: VecDeque<Job>,
    slow: VecDeque<Job>,
    slow_running: usize,
    /// Fast jobs taken since a slow one was.
    passed: u32,
    closing: bool,
}

impl SyncEngine {
    /// Start the threads, at least one.
    ///
    /// # Errors
    /// When the system has no threads left.
    pub fn new(threads: usize) -> io::Result<Self> {
        let threads = threads.max(1);
        let pool = Arc::new(Pool {
            queues: Mutex::default(),
            filled: Condvar::new(),
            slow_limit: (threads - 1).max(1),
        });
        // Made before its threads, so that those that started are ended if one can't be.
        let mut engine = Self {
            pool,
            threads: Vec::with_capacity(threads),
        };
        for index in 0..threads {
            let pool = Arc::clone(&engine.pool);
            let builder = thread::Builder::new().name(format!("blk-io-{index}"));
            engine.threads.push(builder.spawn(move || pool.serve())?);
        }
        Ok(engine)
    }
}

impl Engine for SyncEngine {
    fn submit(&self, jobs: &mut Vec<Job>, alone: bool, done: &mut Vec<Used>) {
        let alone = alone && jobs.len() == 1;
        let mut later = Vec::new();
        let mut free_ns = jobs.first().map_or(0, |job| job.started_ns);
        for mut job in jobs.drain(..) {
            match job.run_cached(&mut free_ns) {
                Some(used) => done.push(used),
                None if alone && job.is_small_write() => done.push(job.run_at(&mut free_ns)),
                None => later.push(job),
            }
        }
        self.pool.add(later);
    }
}

impl Drop for SyncEngine {
    fn drop(&mut self) {
        self.pool.lock().closing = true;
        self.pool.filled.notify_all();
        for thread in self.threads.drain(..) {
            // It can't have panicked: all it runs is caught.
            let _ = thread.join();
        }
    }
}

impl Pool {
    fn add(&self, jobs: Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        let count = jobs.len();
        let mut queues = self.lock();
        for job in jobs {
            let queue = if job.is_slow() {
                &mut queues.slow
            } else {
                &mut queues.fast
            };
            queue.push_back(job);
        }
        drop(queues);
        for _ in 0..count {
            self.filled.notify_one();
        }
    }

    /// Execute jobs until the pool closes and none is left.
    fn serve(&self) {
        while let Some((mut job, slow)) = self.take() {
            let used = job.run();
            // The request keeps guest memory mapped: it is let go of before its queue can be stopped.
            let Job { sink, request, .. } = job;
            drop(request);
            sink.complete(&[used]);
            if slow {
                self.end_slow();
            }
        }
    }

    /// Wait for a job; None when the pool closes and none is left.
    fn take(&self) -> Option<(Job, bool)> {
        let mut queues = self.lock();
        loop {
            let may_be_slow = queues.slow_running < self.slow_limit && !queues.slow.is_empty();
            let slow_first = may_be_slow && queues.passed >= MAX_FAST_BEFORE_SLOW;
            if !slow_first && let Some(job) = queues.fast.pop_front() {
                queues.passed = queues.passed.saturating_add(1);
                return Some((job, false));
            }
            if may_be_slow && let Some(job) = queues.slow.pop_front() {
                queues.passed = 0;
                queues.slow_running += 1;
                return Some((job, true));
            }
            if queues.closing && queues.slow.is_empty() {
                return None;
            }
            queues = self
                .filled
                .wait(queues)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn end_slow(&self) {
        self.lock().slow_running -= 1;
        // A slow job may have been left waiting at the limit.
        self.filled.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        // Nothing panics while it is held.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
