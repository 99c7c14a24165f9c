//! Execution of requests: the trait of engines, and the engine that uses a pool of threads.
//!
//! Invariant: every job that was submitted is completed exactly once. A panic during its execution
//! becomes `VIRTIO_BLK_S_IOERR`, and an engine that is dropped executes its pending jobs first.

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
/// The pool costs two wake-ups per request: a single 4 KiB read takes 39 us on the pool and 19 us on the
/// thread of the queue, a single write 44 us and 21 us (medians of `examples/blk_bench.rs` on 2 cores).
/// Such reads use the page cache only (`RWF_NOWAIT`), so they never wait for the storage. For writes,
/// see [`SyncEngine`].
const INLINE_LIMIT: u64 = 64 << 10;
/// Most fast jobs that start before a waiting slow one: reads and writes never starve a flush.
const MAX_FAST_BEFORE_SLOW: u32 = 32;

/// Receives the completions of jobs: the queue that they came from.
pub trait CompletionSink: Send + Sync {
    /// Push used chains. Called once for each submitted job.
    fn complete(&self, used: &[Used]);

    /// The flight recorder of the device, and the index of this queue.
    fn recorder(&self) -> Option<(&Recorder, usize)> {
        None
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
}

impl Job {
    /// Execute it now, write the result into its chain, and count it.
    #[must_use]
    pub fn run(&mut self) -> Used {
        // Reading the clock costs ten times as much as recording.
        let mut free_ns = self.sink.recorder().map_or(0, |_| now());
        self.run_at(&mut free_ns)
    }

    /// Like [`Job::run`]. `free_ns` is the time since which this thread is free; it is updated to the
    /// time of completion.
    fn run_at(&mut self, free_ns: &mut u64) -> Used {
        self.begin(*free_ns);
        // A panic leaves no half-changed state: a request touches atomics, files and guest memory.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.disk.execute(&self.request)));
        let status = outcome.unwrap_or_else(|_| self.disk.give_up(&self.request));
        self.complete(status, free_ns)
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
        done.then(|| self.complete(Status::Ok, free_ns))
    }

    /// True for a small write that is not followed by a flush.
    fn is_small_write(&self) -> bool {
        matches!(self.request.operation, Operation::Write { .. })
            && self.request.readable.len() <= INLINE_LIMIT
            && self.disk.write_back()
    }

    /// True for jobs that may take long, however little data they move.
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
    /// Take all of `jobs`. Jobs that were executed at once are appended to `done`, for the caller to
    /// push; the others complete later, through their sink, in any order.
    ///
    /// `alone` tells that the caller has no other jobs in flight.
    fn submit(&self, jobs: &mut Vec<Job>, alone: bool, done: &mut Vec<Used>);
}

/// Executes blocking system calls on a pool of threads.
///
/// Reads that hit the page cache are executed at once, on the caller's thread. So is a small write while
/// no other request is in flight: if the kernel makes it wait, no other request waits behind it.
pub struct SyncEngine {
    pool: Arc<Pool>,
    threads: Vec<JoinHandle<()>>,
}

struct Pool {
    queues: Mutex<Queues>,
    filled: Condvar,
    /// Threads that may execute slow jobs at a time: one less than there are, so flushes never block
    /// reads and writes.
    slow_limit: usize,
}

#[derive(Default)]
struct Queues {
    fast: VecDeque<Job>,
    slow: VecDeque<Job>,
    slow_running: usize,
    /// Fast jobs started since the last slow one.
    fast_since_slow: u32,
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
        // Made before its threads: if one can't be started, dropping this ends the others.
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
            // It can't have panicked: panics in jobs are caught.
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
            // The request keeps guest memory mapped, so it is dropped before its queue can be stopped.
            let Job { sink, request, .. } = job;
            drop(request);
            sink.complete(&[used]);
            if slow {
                self.end_slow();
            }
        }
    }

    /// Wait for a job. None if the pool is closing and no job is left.
    fn take(&self) -> Option<(Job, bool)> {
        let mut queues = self.lock();
        loop {
            let may_be_slow = queues.slow_running < self.slow_limit && !queues.slow.is_empty();
            let slow_first = may_be_slow && queues.fast_since_slow >= MAX_FAST_BEFORE_SLOW;
            if !slow_first && let Some(job) = queues.fast.pop_front() {
                queues.fast_since_slow = queues.fast_since_slow.saturating_add(1);
                return Some((job, false));
            }
            if may_be_slow && let Some(job) = queues.slow.pop_front() {
                queues.fast_since_slow = 0;
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
        // A slow job may be waiting because of the limit.
        self.filled.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        // Nothing panics while it is held.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
