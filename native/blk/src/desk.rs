//! Writes that the thread of a queue executes in line, though they may wait for the storage.
//!
//! A small write into the page cache is quicker than waking another thread for it. But it can wait: while
//! dirty pages are written back, or for storage that hangs, and nothing in the kernel bounds that for every
//! file system (`RWF_NOWAIT` of writes is refused by ext4, tmpfs and others). So:
//! - While such a write is executed, all that the thread has in hand lies on the desk: the right to serve the
//!   queue, completions that are not published, writes that were not begun. If the same write is still being
//!   executed after [`STUCK`], at most twice that, the rest goes to the engine, completions are published,
//!   and another thread serves the queue. What is left to the first one is that write alone. So a write that
//!   hangs holds up what a thread of the engine would hold up: itself, and a reset that has to wait for it.
//! - After a write that took longer than [`SLOW`], small writes go to the engine for a while, which doubles
//!   as long as they are slow when they come back. Those that were popped with it do too. While a thread is
//!   left behind in a write, all do: one thread of a queue is stuck in line at most, beside those that its
//!   engine allows.
//!
//! Invariant: `epoch` names the thread whose desk it is. Who finds another one has lost the seat, and may
//! touch nothing but the write in hand.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use virtmesh_device::{call_after, now};

use crate::job::{CompletionSink, Job};
use crate::queue::Queue;
use crate::request::Used;
use crate::thread::{self, QueueThread, Seat};

/// How long a write is executed in line until the queue is taken over, at most twice that.
pub const STUCK: Duration = Duration::from_millis(50);
/// A write in line that takes longer is slow. The kernel makes a writer wait 10 ms and more where it has too
/// many dirty pages; a thread that shares its processor with a busy one waits for 3 ms.
pub const SLOW: Duration = Duration::from_millis(8);
/// After a write in line that takes longer, what is completed is published: it has waited long enough.
const LONG: Duration = Duration::from_millis(1);
/// How long writes go to the engine after a slow one.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest of these times.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What lies there while a thread executes a write.
#[derive(Default)]
pub(crate) struct Desk(Mutex<State>);

#[derive(Default)]
struct State {
    /// Here exactly while a write is executed in line by the thread of this epoch.
    seat: Seat,
    epoch: u64,
    /// Executions begun.
    begun: u64,
    /// What `begun` was at the last look.
    looked: u64,
    /// A look is ordered.
    is_watched: bool,
    /// Threads that lost the seat, and whose write has not ended.
    left_behind: usize,
    /// Until when writes go to the engine.
    paused_until_ns: u64,
    pause_ns: u64,
}

/// What is next for the thread at the desk.
#[expect(
    clippy::large_enum_variant,
    reason = "it is taken apart where it is returned to"
)]
enum Next {
    /// To execute another write.
    Write(Job),
    /// To serve the queue again.
    Serve(Box<QueueThread>),
    /// Nothing: another thread serves the queue.
    Relieved,
}

/// What a look at the desk found.
enum Found {
    /// Nothing was executed in line since the last look.
    Idle,
    /// Writes go on.
    Going,
    /// The write of this number is still being executed.
    Stuck(u64),
}

/// Execute the writes of a thread in line. The seat is lost if another thread serves the queue then.
pub(crate) fn execute(seat: &mut Seat) {
    let Some(mut thread) = seat.take() else {
        return;
    };
    let Some(mut job) = thread.writes.pop_front() else {
        *seat = Some(thread);
        return;
    };
    let (queue, engine) = (Arc::clone(&thread.queue), Arc::clone(&thread.engine));
    let mut free_ns = job.started_ns;
    let (epoch, is_unwatched) = queue.desk.sit(thread);
    if is_unwatched {
        look_later(&queue);
    }
    loop {
        let begun_ns = free_ns;
        let executed = catch_unwind(AssertUnwindSafe(|| engine.execute(job, &mut free_ns)));
        let mut used = executed.unwrap_or_else(|_| {
            queue.fail("internal error: executing a write panicked");
            None
        });
        if used.is_none() {
            free_ns = now(); // It did not complete, so it did not tell.
        }
        let took_ns = free_ns.saturating_sub(begun_ns);
        job = match queue.desk.next(epoch, took_ns, &mut used) {
            Next::Write(job) => job,
            Next::Serve(thread) => {
                *seat = Some(thread);
                return;
            }
            Next::Relieved => {
                if let Some(used) = used {
                    queue.complete(&[used]);
                }
                return;
            }
        };
    }
}

/// Have somebody look at the desk after a while.
fn look_later(queue: &Arc<Queue>) {
    let weak = Arc::downgrade(queue);
    let look = move || {
        if let Some(queue) = weak.upgrade() {
            look(&queue);
        }
    };
    if call_after(STUCK, Box::new(look)).is_some() {
        queue.desk.lock().is_watched = false;
    }
}

fn look(queue: &Arc<Queue>) {
    match queue.desk.look(&queue.active) {
        Found::Idle => return,
        Found::Going => {}
        Found::Stuck(begun) => {
            queue.desk.clear();
            let relief = Arc::clone(queue);
            // Without a thread, the next look tries again.
            if thread::spawn(queue.index, move || relieve(&relief, begun)).is_err() {
                queue.release(1);
            }
        }
    }
    look_later(queue);
}

/// Serve a queue whose thread is still stuck in the write of this number. The caller is counted in `active`.
fn relieve(queue: &Queue, begun: u64) {
    match queue.desk.take_over(begun) {
        Some(thread) => thread::run(thread),
        None => queue.release(1),
    }
}

impl Desk {
    /// True if writes may be executed in line now. One that is alone is, even after a slow one: it keeps
    /// nothing waiting.
    pub(crate) fn is_open(&self, is_alone: bool) -> bool {
        let state = self.lock();
        let is_paused = state.paused_until_ns > 0 && state.paused_until_ns > now();
        state.left_behind == 0 && (is_alone || !is_paused)
    }

    /// Threads that lost the seat, and whose write has not ended.
    pub(crate) fn left_behind(&self) -> usize {
        self.lock().left_behind
    }

    /// Leave the seat. Returns the epoch, and whether a look has to be ordered.
    fn sit(&self, thread: Box<QueueThread>) -> (u64, bool) {
        let mut state = self.lock();
        state.begun += 1;
        state.seat = Some(thread);
        let is_unwatched = !mem::replace(&mut state.is_watched, true);
        (state.epoch, is_unwatched)
    }

    /// A write was executed. `used` is left to the thread if it was relieved.
    fn next(&self, epoch: u64, took_ns: u64, used: &mut Option<Used>) -> Next {
        let mut state = self.lock();
        let is_slow = took_ns > nanos(SLOW);
        if is_slow {
            state.pause();
        }
        if state.epoch != epoch {
            state.left_behind -= 1;
            return Next::Relieved;
        }
        let Some(mut thread) = state.seat.take() else {
            return Next::Relieved; // Not reached: it is there while the epoch lasts.
        };
        thread.pending.used().extend(used.take());
        if is_slow {
            // The others would be slow too, one after the other.
            thread.clear();
        } else if thread.pending.is_full() || took_ns > nanos(LONG) {
            thread.publish();
        }
        let Some(job) = thread.writes.pop_front() else {
            return Next::Serve(thread);
        };
        state.begun += 1;
        state.seat = Some(thread);
        Next::Write(job)
    }

    /// Look at what is executed. If it is stuck, `active` counts the caller from now on: under the lock,
    /// since the write may end at once, and its thread and the queue after it.
    fn look(&self, active: &AtomicUsize) -> Found {
        let mut state = self.lock();
        let begun = state.begun;
        let moved = mem::replace(&mut state.looked, begun) != begun;
        match (&state.seat, moved) {
            (Some(_), false) => {
                active.fetch_add(1, Ordering::SeqCst);
                Found::Stuck(begun)
            }
            (None, false) => {
                state.is_watched = false;
                Found::Idle
            }
            (_, true) => Found::Going,
        }
    }

    /// Publish what is completed, and give the engine the writes that were not begun.
    fn clear(&self) {
        let mut state = self.lock();
        if let Some(thread) = &mut state.seat {
            thread.clear();
        }
    }

    /// Take the seat of a thread that is still stuck in the write of this number.
    fn take_over(&self, begun: u64) -> Seat {
        let mut state = self.lock();
        if state.begun != begun {
            return None;
        }
        let thread = state.seat.take()?;
        state.epoch += 1;
        state.left_behind += 1;
        Some(thread)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while it is held ends the queue.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Have writes go to the engine for a while: longer each time that the first ones after it are slow.
    fn pause(&mut self) {
        let (now_ns, again_ns) = (now(), self.paused_until_ns + self.pause_ns);
        let is_slow_again = self.pause_ns > 0 && now_ns < again_ns;
        let longer_ns = if is_slow_again { 2 * self.pause_ns } else { 0 };
        self.pause_ns = longer_ns.clamp(nanos(PAUSE), nanos(PAUSE_MAX));
        self.paused_until_ns = now_ns + self.pause_ns;
    }
}

/// A short time in nanoseconds.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
