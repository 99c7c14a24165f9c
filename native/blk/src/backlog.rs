//! What the threads of an engine have to do, and what they do: which job is next, and whether more threads
//! are needed.
//!
//! Storage may hang in some requests while it answers others, as that of a network does, or of a FUSE
//! server. Their threads can't be called back. So while jobs wait, and threads are stuck, the pool grows by
//! as many as are stuck, up to [`SPARE_MAX`]: what answers is executed by as many threads as ever. Threads
//! that are too many end when they have had nothing to do for a while.
//!
//! A thread for each stuck request would not do, as a driver can have thousands of them; and a thread of
//! each queue would cost one for each queue of each disk that never hangs. Two rules keep one queue from
//! having all threads, once there are more than the usual ones:
//! - A queue takes no more than its share of [`SPARE_MAX`]. So others hold the usual threads and their own
//!   shares at most, and its share is left for each queue.
//! - The last idle thread is for a queue that has none. Of queues that have some, the one with the fewest
//!   is next.
//!
//! Until something is stuck, all of that costs a few comparisons for each job that a thread takes.

use std::mem;
use std::sync::Arc;
use std::time::Instant;

use virtmesh_device::QUEUE_LIMIT;

use crate::job::{CompletionSink, Job};
use crate::lanes::Lanes;

/// Most fast jobs that start before a waiting slow one: reads and writes never starve a flush.
const MAX_FAST_BEFORE_SLOW: u32 = 32;
/// Most threads beyond the usual ones. A queue of a device has one at least: there are as many queues.
pub const SPARE_MAX: usize = QUEUE_LIMIT;
/// Least threads that are not stuck, once some are: one is kept for queues that have none.
const FREE_MIN: usize = 2;

/// A job that a thread took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    number: u64,
    /// Address of the sink of its queue.
    queue: usize,
    is_slow: bool,
    /// Looks at the pool before it was taken.
    looks: u64,
}

/// The jobs of an engine, and how many threads it has.
pub struct Backlog {
    fast: Lanes,
    slow: Lanes,
    /// Jobs that the storage failed.
    pub held: Vec<Job>,
    /// When they are tried again; None while there is none.
    pub retry_at: Option<Instant>,
    /// How often what was held was given up.
    given_up: u64,
    /// Fast jobs started since the last slow one.
    fast_since_slow: u32,
    pub closing: bool,
    /// Threads that wait for a job.
    pub waiting: usize,
    taken: Vec<Taken>,
    numbers: u64,
    looks: u64,
    /// A look at the pool is ordered.
    is_watched: bool,
    threads: usize,
    /// Threads that it was made with.
    usual: usize,
    /// Most threads of one queue, once there are more than usual.
    share: usize,
}

impl Backlog {
    /// Of an engine that is to have so many threads, and serves so many queues.
    pub fn new(threads: usize, queues: usize) -> Self {
        Self {
            fast: Lanes::default(),
            slow: Lanes::default(),
            held: Vec::new(),
            retry_at: None,
            given_up: 0,
            fast_since_slow: 0,
            closing: false,
            waiting: 0,
            taken: Vec::new(),
            numbers: 0,
            looks: 0,
            is_watched: false,
            threads,
            usual: threads,
            share: (SPARE_MAX / queues.max(1)).max(1),
        }
    }

    /// Add a job that waits for a thread.
    pub fn add(&mut self, mut job: Job) {
        // It may wait here for long: what was seen of the image before says nothing then.
        job.request.look = None;
        let lanes = if job.is_slow() {
            &mut self.slow
        } else {
            &mut self.fast
        };
        lanes.add(queue_of(&job), job);
    }

    /// Have all that is held tried again. Returns how many that are.
    pub fn retry_held(&mut self, is_last_try: bool) -> usize {
        self.retry_at = None;
        self.given_up += u64::from(is_last_try);
        let held = mem::take(&mut self.held);
        let count = held.len();
        for mut job in held {
            job.is_last_try |= is_last_try;
            self.add(job);
        }
        count
    }

    /// Note that a job that failed is held. True if it was held before, and somebody has given up since, while
    /// it was being tried.
    pub fn is_given_up(&self, job: &mut Job) -> bool {
        let before = job.held_at.replace(self.given_up);
        before.is_some_and(|count| count != self.given_up)
    }

    /// Take the jobs of one queue out.
    pub fn take_of(&mut self, sink: &Arc<dyn CompletionSink>) -> Vec<Job> {
        let queue = queue_of_sink(sink);
        let its = |job: &Job| queue_of(job) == queue;
        let (mut taken, kept): (Vec<_>, _) = mem::take(&mut self.held).into_iter().partition(its);
        self.held = kept;
        for lanes in [&mut self.fast, &mut self.slow] {
            taken.extend(lanes.take_of(queue));
        }
        taken
    }

    /// True if no job waits.
    pub fn is_empty(&self) -> bool {
        self.fast.is_empty() && self.slow.is_empty()
    }

    /// Take the next job. None if there is none, or none that may begin now.
    pub fn take(&mut self) -> Option<(Job, Taken)> {
        let slow_first = self.fast_since_slow >= MAX_FAST_BEFORE_SLOW;
        let (job, is_slow) = if slow_first && let Some(job) = self.take_slow() {
            (job, true)
        } else if let Some(job) = self.take_fast() {
            (job, false)
        } else {
            (self.take_slow()?, true)
        };
        self.fast_since_slow = if is_slow {
            0
        } else {
            self.fast_since_slow.saturating_add(1)
        };
        self.numbers += 1;
        let taken = Taken {
            number: self.numbers,
            queue: queue_of(&job),
            is_slow,
            looks: self.looks,
        };
        self.taken.push(taken);
        Some((job, taken))
    }

    /// A job that was taken has ended. True if that may allow another thread to take one.
    pub fn end(&mut self, ended: Taken) -> bool {
        self.taken.retain(|one| one.number != ended.number);
        (ended.is_slow || self.is_grown()) && !self.is_empty()
    }

    fn take_fast(&mut self) -> Option<Job> {
        if !self.shares() {
            return self.fast.take(0);
        }
        let place = self.choose(&self.fast, self.share)?;
        self.fast.take(place)
    }

    /// Slow jobs have one thread less than there are, so flushes never block reads and writes.
    fn take_slow(&mut self) -> Option<Job> {
        if self.slow.is_empty() || !self.may_be_slow() {
            return None;
        }
        if !self.shares() {
            return self.slow.take(0);
        }
        let place = self.choose(&self.slow, (self.share - 1).max(1))?;
        self.slow.take(place)
    }

    fn may_be_slow(&self) -> bool {
        let running = self.taken.iter().filter(|one| one.is_slow).count();
        running < (self.threads - 1).max(1)
    }

    /// True while queues have shares. What is left when the pool closes is nobody's.
    fn shares(&self) -> bool {
        self.is_grown() && !self.closing
    }

    /// The place of the lane of the queue with the fewest threads, below its share.
    fn choose(&self, lanes: &Lanes, share: usize) -> Option<usize> {
        let mut counts: Vec<(usize, usize)> = Vec::new();
        for one in &self.taken {
            match counts.iter_mut().find(|(queue, _)| *queue == one.queue) {
                Some((_, count)) => *count += 1,
                None => counts.push((one.queue, 1)),
            }
        }
        let mut least: Option<(usize, usize)> = None;
        for (index, queue) in lanes.queues().enumerate() {
            let found = counts.iter().find(|(one, _)| *one == queue);
            let count = found.map_or(0, |(_, count)| *count);
            if count == 0 {
                return Some(index);
            }
            if count < share && least.is_none_or(|(fewest, _)| count < fewest) {
                least = Some((count, index));
            }
        }
        // Whoever asks is idle.
        let (_, index) = least.filter(|_| self.idle() > 1)?;
        Some(index)
    }

    /// Threads that execute nothing.
    fn idle(&self) -> usize {
        self.threads.saturating_sub(self.taken.len())
    }

    /// True if somebody is to look at the pool after a while ([`Backlog::look`]): jobs wait, and not only
    /// for a thread to wake up. It is told once.
    pub fn wants_look(&mut self) -> bool {
        if self.is_watched || self.closing || self.is_empty() {
            return false;
        }
        self.is_watched = self.idle() == 0 || self.shares() || !self.may_be_slow();
        // What is taken from now on is not stuck at that look.
        self.looks += u64::from(self.is_watched);
        self.is_watched
    }

    /// Look at the pool: how many more threads it needs. They count from now on.
    pub fn look(&mut self) -> usize {
        self.is_watched = false;
        if self.closing || self.is_empty() {
            return 0;
        }
        let stuck = self.taken.iter().filter(|one| one.looks < self.looks);
        let stuck = stuck.count();
        if stuck == 0 {
            return 0;
        }
        let wanted = (self.usual.max(FREE_MIN) + stuck).min(self.usual + SPARE_MAX);
        let more = wanted.saturating_sub(self.threads);
        self.threads += more;
        more
    }

    /// True if a thread that has had nothing to do for a while is to end. It counts no more then.
    pub fn lets_go(&mut self) -> bool {
        let kept = if self.taken.is_empty() {
            self.usual
        } else {
            self.usual.max(FREE_MIN)
        };
        let goes = self.is_grown() && self.idle() > kept;
        self.threads -= usize::from(goes);
        goes
    }

    /// True while there are more threads than usual.
    pub fn is_grown(&self) -> bool {
        self.threads > self.usual
    }

    /// Threads of those that a look asked for could not be started.
    pub fn lost_threads(&mut self, count: usize) {
        self.threads -= count;
    }

    /// Nobody could be asked to look at the pool.
    pub fn is_unwatched(&mut self) {
        self.is_watched = false;
    }
}

/// What tells the queue of a job from others.
fn queue_of(job: &Job) -> usize {
    queue_of_sink(&job.sink)
}

fn queue_of_sink(sink: &Arc<dyn CompletionSink>) -> usize {
    Arc::as_ptr(sink).cast::<()>().addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_are_too_many_end_and_the_usual_ones_stay() {
        let mut backlog = Backlog::new(4, 1);
        assert!(!backlog.lets_go() && !backlog.is_grown());
        backlog.threads = 6;
        assert!(backlog.is_grown());
        assert_eq!([(); 3].map(|()| backlog.lets_go()), [true, true, false]);
        assert_eq!(backlog.threads, 4);
    }

    #[test]
    fn while_one_is_stuck_as_many_others_as_ever_stay() {
        let mut backlog = Backlog::new(1, 1);
        backlog.threads = 4;
        let number = 1;
        backlog.taken.push(Taken {
            number,
            queue: 0,
            is_slow: false,
            looks: 0,
        });
        assert_eq!([(); 2].map(|()| backlog.lets_go()), [true, false]);
        assert_eq!(backlog.idle(), FREE_MIN);
    }
}
