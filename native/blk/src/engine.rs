//! Execution of requests: the trait of engines, and the engine that uses a pool of threads.
//!
//! Invariant: every job that was submitted is completed or discarded, exactly once. A panic during its
//! execution becomes `VIRTIO_BLK_S_IOERR`, and an engine that is dropped executes its pending jobs first.
//! A job is discarded only when its queue was abandoned ([`Running`](crate::running::Running)).
//!
//! A job that the storage failed may be held ([`DiskOptions`](crate::disk::DiskOptions)): it is tried
//! again each [`RETRY`], and when somebody wants that. Other jobs go on meanwhile. What is held keeps no
//! reset waiting, and no stop of its queue, which has it tried once more.

mod choice;
mod null;

use std::io;
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub use choice::{Chosen, EngineChoice, EngineError};
pub use null::NullEngine;

use virtmesh_device::{call_after, now};

use crate::backlog::{Backlog, Taken};
use crate::job::{CompletionSink, Job, Outcome};
use crate::request::Used;
use crate::uring::Flights;

/// Between two tries of what is held.
pub const RETRY: Duration = Duration::from_secs(1);
/// How long a job is executed until its thread counts as stuck, at most twice that, where other jobs wait.
const STUCK: Duration = Duration::from_millis(50);
/// How long a thread waits for a job until it ends, where there are more than usual.
const IDLE: Duration = Duration::from_secs(10);

/// Executes jobs.
pub trait Engine: Send + Sync {
    /// Take all of `jobs`, without waiting. Jobs that were executed at once are appended to `done`, for the
    /// caller to push; the others complete later, through their sink, in any order.
    fn submit(&self, jobs: &mut dyn Iterator<Item = Job>, done: &mut Vec<Used>);

    /// Execute a job on the caller's thread, which may wait for the storage. Returns what the caller has to
    /// push. None if the job is held, or was discarded.
    ///
    /// `free_ns` is the time since which this thread is free; it is updated to the time of completion.
    fn execute(&self, job: Job, free_ns: &mut u64) -> Option<Used>;

    /// Discard the jobs of an abandoned queue that were not begun.
    fn discard(&self, sink: &Arc<dyn CompletionSink>);

    /// Try what is held again now, and complete it if it is the last try. What is being tried just now is
    /// tried once more then.
    fn retry(&self, is_last_try: bool);

    /// Let the threads end by themselves: none is waited for when this is dropped. For when every queue
    /// is stopped: then a thread that is busy is in a flush that a reset did not wait for.
    fn detach(&self);

    /// What the thread of a queue executes requests by, beside this engine; None: nothing.
    fn flights(&self, _queue: usize) -> Option<Flights> {
        None
    }
}

/// Executes blocking system calls on a pool of threads, which grows while the storage hangs
/// ([`backlog`](crate::backlog)).
///
/// Reads that hit the page cache are executed at once, on the caller's thread.
pub struct SyncEngine {
    pool: Arc<Pool>,
}

struct Pool {
    backlog: Mutex<Backlog>,
    filled: Condvar,
    /// Taken out once nobody waits for them any more.
    threads: Mutex<Option<Vec<JoinHandle<()>>>>,
}

impl SyncEngine {
    /// Start the threads, at least one. `queues`: how many it will serve.
    ///
    /// # Errors
    /// When the system has no threads left.
    pub fn new(threads: usize, queues: usize) -> io::Result<Self> {
        let threads = threads.max(1);
        let pool = Arc::new(Pool {
            backlog: Mutex::new(Backlog::new(threads, queues)),
            filled: Condvar::new(),
            threads: Mutex::new(Some(Vec::new())),
        });
        // Made before its threads: if one can't be started, dropping this ends the others.
        let engine = Self { pool };
        for _ in 0..threads {
            let mut started = engine.pool.threads();
            engine.pool.start_thread(started.as_mut())?;
        }
        Ok(engine)
    }
}

impl Engine for SyncEngine {
    fn submit(&self, jobs: &mut dyn Iterator<Item = Job>, done: &mut Vec<Used>) {
        let mut later = Vec::new();
        let mut free_ns = 0;
        for mut job in jobs {
            free_ns = job.started_ns.max(free_ns);
            if job.is_immediate() {
                done.extend(self.execute(job, &mut free_ns));
            } else if let Some(used) = job.read_cached(&mut free_ns) {
                done.push(used);
            } else {
                later.push(job);
            }
        }
        self.pool.add(later);
    }

    fn execute(&self, job: Job, free_ns: &mut u64) -> Option<Used> {
        match job.execute(free_ns) {
            Outcome::Done(used) => Some(used),
            Outcome::Held(job) => {
                self.pool.hold(*job);
                None
            }
            Outcome::Dropped => None,
        }
    }

    fn discard(&self, sink: &Arc<dyn CompletionSink>) {
        let dropped = self.pool.lock().take_of(sink);
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
        *self.pool.threads() = None;
    }
}

impl Drop for SyncEngine {
    fn drop(&mut self) {
        self.pool.lock().closing = true;
        self.pool.filled.notify_all();
        // Not while they are locked: a look at the pool may come.
        let threads = mem::take(&mut *self.pool.threads());
        for thread in threads.into_iter().flatten() {
            // It can't have panicked: panics in jobs are caught.
            let _ = thread.join();
        }
    }
}

impl Pool {
    fn start_thread(self: &Arc<Self>, threads: Option<&mut Vec<JoinHandle<()>>>) -> io::Result<()> {
        let pool = Arc::clone(self);
        let builder = thread::Builder::new().name("blk-io".into());
        let thread = builder.spawn(move || pool.serve())?;
        if let Some(threads) = threads {
            threads.retain(|one| !one.is_finished());
            threads.push(thread);
        }
        Ok(())
    }

    fn add(self: &Arc<Self>, jobs: Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        let mut backlog = self.lock();
        // Whoever does not wait takes jobs until none is left, and looks under this lock.
        let woken = jobs.len().min(backlog.waiting);
        for job in jobs {
            backlog.add(job);
        }
        self.look_later(&mut backlog);
        drop(backlog);
        for _ in 0..woken {
            self.filled.notify_one();
        }
    }

    /// Execute jobs until the pool closes and none is left, or this thread is one too many.
    fn serve(self: &Arc<Self>) {
        let mut ended = None;
        while let Some((job, taken)) = self.take(ended) {
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
            ended = Some(taken);
        }
    }

    /// Keep a job that the storage failed.
    fn hold(&self, mut job: Job) {
        let sink = Arc::clone(&job.sink);
        let mut backlog = self.lock();
        // Race: the queue is reset or stopped on another thread. That sets its flag before it takes this
        // lock, to find what is held.
        if sink.running().is_abandoned() {
            drop(backlog);
            job.forget();
            sink.discard(1);
            return;
        }
        if backlog.is_given_up(&mut job) || backlog.closing || !sink.may_hold() {
            job.is_last_try = true;
            backlog.add(job);
        } else {
            backlog.held.push(job);
            backlog.retry_at.get_or_insert(Instant::now() + RETRY);
        }
        drop(backlog);
        // Whoever takes a job waits no longer than until the next try.
        self.filled.notify_one();
    }

    /// Wait for a job, after one has `ended`. None if the pool is closing and no job is left, or if this
    /// thread is one too many.
    fn take(self: &Arc<Self>, ended: Option<Taken>) -> Option<(Job, Taken)> {
        let mut backlog = self.lock();
        if ended.is_some_and(|ended| backlog.end(ended)) {
            self.filled.notify_one();
        }
        loop {
            if backlog.closing || backlog.retry_at.is_some_and(|at| at <= Instant::now()) {
                let is_last_try = backlog.closing;
                if backlog.retry_held(is_last_try) > 1 {
                    self.filled.notify_all();
                }
            }
            let job = backlog.take();
            self.look_later(&mut backlog);
            if job.is_some() {
                return job;
            }
            if backlog.closing && backlog.is_empty() {
                return None;
            }
            let (woken, timed_out) = self.wait(backlog);
            backlog = woken;
            if timed_out && backlog.lets_go() {
                return None;
            }
        }
    }

    /// Wait until there is something to look at. Tells whether nothing came for [`IDLE`].
    fn wait<'a>(&'a self, mut backlog: MutexGuard<'a, Backlog>) -> (MutexGuard<'a, Backlog>, bool) {
        backlog.waiting += 1;
        let (mut backlog, idled) = self.wait_counted(backlog);
        backlog.waiting -= 1;
        (backlog, idled)
    }

    fn wait_counted<'a>(
        &'a self,
        backlog: MutexGuard<'a, Backlog>,
    ) -> (MutexGuard<'a, Backlog>, bool) {
        let retry = backlog
            .retry_at
            .map(|at| at.saturating_duration_since(Instant::now()));
        let idle = backlog.is_grown().then_some(IDLE);
        let Some(limit) = retry.into_iter().chain(idle).min() else {
            let woken = self.filled.wait(backlog);
            return (woken.unwrap_or_else(PoisonError::into_inner), false);
        };
        let woken = self.filled.wait_timeout(backlog, limit);
        let (backlog, result) = woken.unwrap_or_else(PoisonError::into_inner);
        (backlog, result.timed_out() && idle == Some(limit))
    }

    /// Have somebody look at the pool after a while, if that is of use.
    fn look_later(self: &Arc<Self>, backlog: &mut Backlog) {
        if !backlog.wants_look() {
            return;
        }
        let pool = Arc::downgrade(self);
        let look = move || {
            if let Some(pool) = pool.upgrade() {
                pool.look();
            }
        };
        if call_after(STUCK, Box::new(look)).is_some() {
            backlog.is_unwatched();
        }
    }

    /// Start as many threads as are stuck, if jobs wait.
    fn look(self: &Arc<Self>) {
        // Race: the engine is dropped. It closes the pool, and waits for the threads that are there then.
        let mut threads = self.threads();
        let more = self.lock().look();
        let started = (0..more).take_while(|_| self.start_thread(threads.as_mut()).is_ok());
        let lost = more - started.count();
        let mut backlog = self.lock();
        // Where the system has no threads left, those there are go on.
        backlog.lost_threads(lost);
        self.look_later(&mut backlog);
    }

    fn lock(&self) -> MutexGuard<'_, Backlog> {
        // Nothing panics while it is held.
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn threads(&self) -> MutexGuard<'_, Option<Vec<JoinHandle<()>>>> {
        // Nothing panics while it is held.
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
