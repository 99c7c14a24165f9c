//! Signals eventfds on a thread of its own, where the kernel does not do it for us.
//!
//! A driver can fill the counter of its eventfd and make it blocking: then the thread waits, and nobody
//! else does. What that costs is the driver's own signals.
//!
//! Invariant: a bell is in the queue exactly while it is `pending`. The thread clears the mark before it
//! writes, so that a signal that comes meanwhile is written once more.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use std::sync::atomic::Ordering;

use crate::eventfd::{Bell, drain};

/// Bytes of the stack of the thread.
const STACK: usize = 128 << 10;
/// How often a bell is drained to free the thread that waits at it, before the thread is given up.
const DRAINS: usize = 64;

/// A thread that signals.
#[derive(Debug)]
pub struct Helper(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    work: Mutex<Work>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Work {
    queue: VecDeque<Arc<Bell>>,
    /// What the thread writes to, or waits at.
    ringing: Option<Arc<Bell>>,
    ended: bool,
}

impl Helper {
    /// Start the thread; None if the system gives none.
    #[must_use]
    pub fn start() -> Option<Self> {
        let shared = Arc::new(Shared {
            work: Mutex::new(Work::default()),
            news: Condvar::new(),
        });
        let served = Arc::clone(&shared);
        let builder = thread::Builder::new()
            .name("doorbells".into())
            .stack_size(STACK);
        builder.spawn(move || serve(&served)).ok()?;
        Some(Self(shared))
    }

    /// Have 1 added to a bell, unless that is to be done already.
    pub fn signal(&self, bell: &Arc<Bell>) {
        if bell.pending.swap(true, Ordering::SeqCst) {
            return;
        }
        self.0.lock().queue.push_back(Arc::clone(bell));
        self.0.news.notify_one();
    }

    /// Forget a bell, whose driver goes. False if the thread waits there, and can't be freed.
    #[must_use]
    pub fn forget(&self, bell: &Arc<Bell>) -> bool {
        self.0
            .lock()
            .queue
            .retain(|other| !Arc::ptr_eq(other, bell));
        for _ in 0..DRAINS {
            if !self.0.is_ringing(bell) {
                return true;
            }
            // The counter has room then, unless its driver fills it again.
            drain(bell.as_fd());
            thread::yield_now();
        }
        !self.0.is_ringing(bell)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.news.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Work> {
        // Nothing panics while it is held.
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_ringing(&self, bell: &Arc<Bell>) -> bool {
        let work = self.lock();
        work.ringing
            .as_ref()
            .is_some_and(|other| Arc::ptr_eq(other, bell))
    }
}

fn serve(shared: &Shared) {
    let mut work = shared.lock();
    while !work.ended {
        if let Some(bell) = work.queue.pop_front() {
            work.ringing = Some(Arc::clone(&bell));
            drop(work);
            bell.pending.store(false, Ordering::SeqCst);
            let one = 1_u64.to_ne_bytes();
            // SAFETY: the buffer is valid for its length.
            unsafe { libc::write(bell.as_fd().as_raw_fd(), one.as_ptr().cast(), one.len()) };
            work = shared.lock();
            work.ringing = None;
        } else {
            work = shared
                .news
                .wait(work)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}
