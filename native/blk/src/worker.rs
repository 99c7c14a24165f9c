//! One running queue, as its device sees it.
//!
//! Invariant: only the thread that serves the queue pops chains (`AvailConsumer`). The thread that completes
//! a request pushes its chain under the lock of the `UsedProducer`. `active` counts the threads that serve
//! the queue and every popped chain that is not pushed with its interrupt raised. At 0 the queue is stopped
//! for good: the ring is dropped, and nothing accesses it any more. Nothing here waits for the driver.
//!
//! There are two ways to stop. A stop that was requested completes every popped chain. One by `abandon`
//! is for a reset: chains that were not begun, and flushes, are dropped ([`Running`]).

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use virtmesh_device::{EventFd, Interrupt, Kick};
use virtmesh_ring::{DeviceQueue, GuestRam, RingState};

use crate::desk::Desk;
use crate::disk::Disk;
use crate::engine::Engine;
use crate::job::CompletionSink;
use crate::processors::Processors;
use crate::queue::Queue;
use crate::running::{Running, RunningRequest};
use crate::thread::{self, QueueThread};

/// A queue that was started.
pub struct Worker {
    queue: Arc<Queue>,
}

impl Worker {
    /// Start the thread of queue `index`, with `size` entries. It reads the ring at once.
    ///
    /// # Errors
    /// When the system has no threads left.
    pub(crate) fn start(
        (index, size): (usize, u16),
        ring: DeviceQueue,
        memory: &GuestRam,
        interrupt: Arc<Interrupt>,
        kick: Option<Kick>,
        disk: Arc<Disk>,
        (engine, processors): (Arc<dyn Engine>, Processors),
    ) -> io::Result<Self> {
        let (consumer, producer) = ring.split();
        let queue = Arc::new(Queue {
            index,
            size,
            producer: Mutex::new(Some(producer)),
            interrupt,
            wake: EventFd::new()?,
            stopping: AtomicBool::new(false),
            active: AtomicUsize::new(1),
            running: Running::default(),
            desk: Desk::default(),
            avail_state: OnceLock::new(),
            stopped: Mutex::new(None),
            stopped_changed: Condvar::new(),
        });
        let parts = (Arc::clone(&queue), consumer, memory.clone());
        let thread = Box::new(QueueThread::new(parts, kick, disk, (engine, processors)));
        thread::spawn(index, move || thread::run(thread))?;
        Ok(Self { queue })
    }

    /// Notify the queue.
    pub fn kick(&self) {
        self.queue.wake.signal();
    }

    /// Request a stop: no more chains are popped. What is held is tried once more.
    pub fn request_stop(&self, engine: Option<&dyn Engine>) {
        self.queue.request_stop();
        if let Some(engine) = engine {
            engine.retry(false);
        }
    }

    /// Request a stop that drops what was not begun, and flushes, once its thread has ended.
    pub fn abandon(&self, engine: Option<&dyn Engine>) {
        self.queue.request_stop();
        let taken_away = self.queue.running.abandon();
        if taken_away > 0 {
            self.queue.release(taken_away);
        }
        if let Some(engine) = engine {
            engine.discard(&(Arc::clone(&self.queue) as Arc<dyn CompletionSink>));
        }
    }

    /// The request that has been executed longest. It may be waiting for the storage.
    #[must_use]
    pub fn oldest(&self) -> Option<RunningRequest> {
        self.queue.running.oldest()
    }

    /// Requests that the storage failed, and that are tried again.
    #[must_use]
    pub fn held(&self) -> usize {
        self.queue.running.held()
    }

    /// True if the thread has ended and every popped chain is pushed or dropped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.state().is_some()
    }

    /// The state from which the queue continues: see [`DeviceQueue::state`]. None until it is stopped.
    #[must_use]
    pub fn state(&self) -> Option<RingState> {
        *self.queue.stopped()
    }

    /// Requests being executed.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        // Threads that serve it count too, while they live.
        let threads = 1 + self.queue.desk.left_behind();
        self.queue
            .active
            .load(Ordering::SeqCst)
            .saturating_sub(threads)
    }

    /// Wait until it is stopped, at most for `limit`. True if it is.
    #[must_use]
    pub fn join(&self, limit: Duration) -> bool {
        let stopped = self.queue.stopped();
        let waited = self
            .queue
            .stopped_changed
            .wait_timeout_while(stopped, limit, |state| state.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.is_some()
    }
}
