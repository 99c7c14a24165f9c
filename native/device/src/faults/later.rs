//! What faults hold back, and the thread that lets it go on in time. What else is to be done after a while
//! is done there, too.
//!
//! There is one such thread in a process, from the first delay on. It does short things only.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Most things that wait at a time: what comes beyond is not delayed.
pub const WAITING_MAX: usize = 1 << 16;
/// Bytes of the stack of the thread.
const STACK: usize = 256 << 10;

/// Something that a fault holds back.
pub trait Held: Send {
    /// False once nobody needs it any more, as after a reset.
    fn is_alive(&self) -> bool {
        true
    }

    /// Let it go on.
    fn release(self: Box<Self>);
}

impl<F: FnOnce() + Send> Held for F {
    fn release(self: Box<Self>) {
        self();
    }
}

/// Let something go on after a time, on another thread; at once where there is no room for it.
pub fn release_after(delay: Duration, held: Box<dyn Held>) {
    if let Some(held) = call_after(delay, held) {
        held.release();
    }
}

/// Like [`release_after`], but what there is no room for is returned.
#[must_use]
pub fn call_after(delay: Duration, held: Box<dyn Held>) -> Option<Box<dyn Held>> {
    static WAITING: OnceLock<Option<Arc<Waiting>>> = OnceLock::new();
    match WAITING.get_or_init(Waiting::start) {
        Some(waiting) => waiting.add(delay, held),
        None => Some(held),
    }
}

#[derive(Default)]
struct Waiting {
    entries: Mutex<Entries>,
    news: Condvar,
}

#[derive(Default)]
struct Entries {
    added: u64,
    heap: BinaryHeap<Entry>,
}

struct Entry {
    due: Instant,
    /// What was added first goes first, of what is due at one time.
    number: u64,
    held: Box<dyn Held>,
}

impl Waiting {
    /// Start the thread. None if the system gives none.
    fn start() -> Option<Arc<Self>> {
        let waiting = Arc::new(Self::default());
        let served = Arc::clone(&waiting);
        let builder = thread::Builder::new()
            .name("faults".into())
            .stack_size(STACK);
        builder.spawn(move || served.serve()).ok()?;
        Some(waiting)
    }

    /// Have something released. It is returned if there is no room.
    fn add(&self, delay: Duration, held: Box<dyn Held>) -> Option<Box<dyn Held>> {
        let mut entries = self.lock();
        if entries.heap.len() >= WAITING_MAX {
            entries.heap.retain(|entry| entry.held.is_alive());
            if entries.heap.len() >= WAITING_MAX {
                return Some(held);
            }
        }
        entries.added += 1;
        let entry = Entry {
            due: Instant::now() + delay,
            number: entries.added,
            held,
        };
        entries.heap.push(entry);
        drop(entries);
        self.news.notify_one();
        None
    }

    fn serve(&self) {
        let mut entries = self.lock();
        loop {
            let left = entries
                .heap
                .peek()
                .map(|entry| entry.due.saturating_duration_since(Instant::now()));
            match left {
                None => {
                    entries = self
                        .news
                        .wait(entries)
                        .unwrap_or_else(PoisonError::into_inner);
                }
                Some(Duration::ZERO) => {
                    let entry = entries.heap.pop();
                    drop(entries);
                    // A panic ends what was released, and nothing else that waits.
                    let _ = catch_unwind(AssertUnwindSafe(|| {
                        if let Some(entry) = entry {
                            entry.held.release();
                        }
                    }));
                    entries = self.lock();
                }
                Some(left) => {
                    entries = self
                        .news
                        .wait_timeout(entries, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        // `is_alive` runs under it, and only reads.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ord for Entry {
    /// The greatest is the one that is due first: that is what the heap gives.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.number).cmp(&(self.due, self.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn what_is_due_first_goes_first_and_one_panic_ends_nothing_else() {
        let (sender, receiver) = mpsc::channel();
        let send = |number: u64| {
            let sender = sender.clone();
            Box::new(move || sender.send(number).unwrap())
        };
        release_after(Duration::from_millis(60), send(2));
        release_after(Duration::ZERO, Box::new(|| panic!("on purpose")));
        release_after(Duration::from_millis(20), send(1));
        release_after(Duration::ZERO, send(0));
        let found = [0; 3].map(|_| receiver.recv_timeout(Duration::from_secs(30)).unwrap());
        assert_eq!(found, [0, 1, 2]);
    }
}
