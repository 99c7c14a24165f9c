//! Execution of requests: the trait of engines, and the engine that uses a pool of threads.
//!
//! Invariant: every job that was submitted is completed or discarded, exactly once. A panic during its
//! execution becomes `VIRTIO_BLK_S_IOERR`, and an engine that is dropped executes its pending jobs first.
//! A job is discarded only when its queue was abandoned ([`Running`](crate::running::Running)).
//!
//! A job that the storage failed may be held ([`DiskOptions`](crate::disk::DiskOptions)): it is tried
//! again each [`RETRY`], and when somebody wants that. Other jobs go on meanwhile. What is held keeps no
//! reset waiting, and no stop of its queue, which has it tried once more.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::ptr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use virtmesh_device::now;

use crate::job::{CompletionSink, Job, Outcome};
use crate::request::Used;

/// Most fast jobs that start before a waiting slow one: reads and writes never starve a flush.
const MAX_FAST_BEFORE_SLOW: u32 = 32;

/// Between two tries of what is held.
pub const RETRY: Duration = Duration::from_secs(1);

/// Executes jobs.
pub trait Engine: Send + Sync {
    /// Take all of `jobs`. Jobs that were executed at once are appended to `done`, for the caller to
    /// push; the others complete later, through their sink, in any order.
    ///
    /// `alone` tells that the caller has no other jobs in flight.
    fn submit(&self, jobs: &mut Vec<Job>, alone: bool, done: &mut Vec<Used>);

    /// Discard the jobs of an abandoned queue that were not begun.
    fn discard(&self, sink: &Arc<dyn CompletionSink>);

    /// Try what is held again now, and complete it if it is the last try. What is being executed is not
    /// held just now.
    fn retry(&self, is_last_try: bool);

    /// Let the threads end by themselves: none is waited for when this is dropped. For when every queue
    /// is stopped: then a thread that is busy is in a flush that a reset did not wait for.
    fn detach(&self);
}

/// Executes blocking system calls on a pool of threads.
///
/// Reads that hit the page cache are executed at once, on the caller's thread. So is a small write while
/// no other request is in flight: if the kernel makes it wait, no other request waits behind it.
pub struct SyncEngine {
    pool: Arc<Pool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
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
    /// Jobs that the storage failed.
    held: Vec<Job>,
    /// When they are tried again; None while there is none.
    retry_at: Option<Instant>,
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
        let engine = Self {
            pool,
            threads: Mutex::default(),
        };
        for index in 0..threads {
            let pool = Arc::clone(&engine.pool);
            let builder = thread::Builder::new().name(format!("blk-io-{index}"));
            let thread = builder.spawn(move || pool.serve())?;
            engine.threads().push(thread);
        }
        Ok(engine)
    }

    fn threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        // Nothing panics while it is held.
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for SyncEngine {
    fn submit(&self, jobs: &mut Vec<Job>, alone: bool, done: &mut Vec<Used>) {
        let alone = alone && jobs.len() == 1;
        let mut later = Vec::new();
        let mut free_ns = jobs.first().map_or(0, |job| job.started_ns);
        for mut job in jobs.drain(..) {
            if job.is_immediate() || (alone && job.is_small_write()) {
                match job.execute(&mut free_ns) {
                    Outcome::Done(used) => done.push(used),
                    Outcome::Held(job) => self.pool.hold(*job),
                    Outcome::Dropped => {}
                }
            } else if let Some(used) = job.read_cached(&mut free_ns) {
                done.push(used);
            } else {
                later.push(job);
            }
        }
        self.pool.add(later);
    }

    fn discard(&self, sink: &Arc<dyn CompletionSink>) {
        let dropped = self.pool.take_of(sink);
        let count = dropped.len();
        // Their requests keep guest memory mapped, so they are dropped before the queue can be stopped.
        dropped.into_iter().for_each(Job::forget);
        if count > 0 {
            sink.discard(count);
        }
    }

    fn retry(&self, is_last_try: bool) {
        self.pool.lock().retry_held(is_last_try);
        self.pool.filled.notify_all();
    }

    fn detach(&self) {
        self.threads().clear();
    }
}

impl Drop for SyncEngine {
    fn drop(&mut self) {
        self.pool.lock().closing = true;
        self.pool.filled.notify_all();
        for thread in mem::take(&mut *self.threads()) {
            // It can't have panicked: panics in jobs are caught.
            let _ = thread.join();
        }
    }
}

impl Queues {
    fn add(&mut self, job: Job) {
        if job.is_slow() {
            self.slow.push_back(job);
        } else {
            self.fast.push_back(job);
        }
    }

    /// Have all that is held tried again. Returns how many that are.
    fn retry_held(&mut self, is_last_try: bool) -> usize {
        self.retry_at = None;
        let held = mem::take(&mut self.held);
        let count = held.len();
        for mut job in held {
            job.is_last_try |= is_last_try;
            self.add(job);
        }
        count
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
            queues.add(job);
        }
        drop(queues);
        for _ in 0..count {
            self.filled.notify_one();
        }
    }

    /// Execute jobs until the pool closes and none is left.
    fn serve(&self) {
        while let Some((job, slow)) = self.take() {
            let sink = Arc::clone(&job.sink);
            // Reading the clock costs ten times as much as recording.
            let mut free_ns = sink.recorder().map_or(0, |_| now());
            // The job keeps guest memory mapped and the image open. It is dropped before its queue can
            // be stopped.
            match job.execute(&mut free_ns) {
                Outcome::Done(used) => sink.complete(&[used]),
                Outcome::Held(job) => self.hold(*job),
                Outcome::Dropped => {}
            }
            drop(sink);
            if slow {
                self.end_slow();
            }
        }
    }

    /// Keep a job that the storage failed.
    fn hold(&self, mut job: Job) {
        let sink = Arc::clone(&job.sink);
        let mut queues = self.lock();
        // Race: the queue is reset or stopped on another thread. That sets its flag before it takes this
        // lock, to find what is held.
        if sink.running().is_abandoned() {
            drop(queues);
            job.forget();
            sink.discard(1);
            return;
        }
        if queues.closing || !sink.may_hold() {
            job.is_last_try = true;
            queues.add(job);
        } else {
            queues.held.push(job);
            queues.retry_at.get_or_insert(Instant::now() + RETRY);
        }
        drop(queues);
        // Whoever takes a job waits no longer than until the next try.
        self.filled.notify_one();
    }

    /// Take the jobs of one queue out.
    fn take_of(&self, sink: &Arc<dyn CompletionSink>) -> Vec<Job> {
        let mut queues = self.lock();
        let is_its = |job: &Job| ptr::addr_eq(Arc::as_ptr(&job.sink), Arc::as_ptr(sink));
        let (mut taken, kept): (Vec<_>, _) =
            mem::take(&mut queues.held).into_iter().partition(is_its);
        queues.held = kept;
        let Queues { fast, slow, .. } = &mut *queues;
        for jobs in [fast, slow] {
            let (its, others): (VecDeque<_>, _) = mem::take(jobs).into_iter().partition(is_its);
            *jobs = others;
            taken.append(&mut Vec::from(its));
        }
        taken
    }

    /// Wait for a job. None if the pool is closing and no job is left.
    fn take(&self) -> Option<(Job, bool)> {
        let mut queues = self.lock();
        loop {
            if queues.closing || queues.retry_at.is_some_and(|at| at <= Instant::now()) {
                let is_last_try = queues.closing;
                if queues.retry_held(is_last_try) > 1 {
                    self.filled.notify_all();
                }
            }
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
            queues = self.wait(queues);
        }
    }

    /// Wait until there is something to look at.
    fn wait<'a>(&'a self, queues: MutexGuard<'a, Queues>) -> MutexGuard<'a, Queues> {
        let Some(retry_at) = queues.retry_at else {
            let woken = self.filled.wait(queues);
            return woken.unwrap_or_else(PoisonError::into_inner);
        };
        let limit = retry_at.saturating_duration_since(Instant::now());
        let woken = self.filled.wait_timeout(queues, limit);
        woken.unwrap_or_else(PoisonError::into_inner).0
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
