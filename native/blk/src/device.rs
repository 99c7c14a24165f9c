//! The data path of one virtio-blk device: its disk, its engine, and its running queues.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use virtmesh_device::{Interrupt, Kick, QUEUE_LIMIT};
use virtmesh_ring::{ConfigError, DeviceQueue, GuestRam, LogRegion, QueueConfig, RingState};

use crate::disk::Disk;
use crate::engine::Engine;
use crate::processors::Processors;
use crate::running::RunningRequest;
use crate::worker::Worker;

/// A queue was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The index is out of range.
    #[error("there is no queue {index}: a device has at most {QUEUE_LIMIT}")]
    NoSuchQueue {
        /// The index.
        index: usize,
    },
    /// The queue is running, or is still stopping.
    #[error("queue {index} is not stopped: request a stop and wait for it first")]
    Running {
        /// The index.
        index: usize,
    },
    /// The device is closed.
    #[error("the device is closed")]
    Closed,
    /// The configuration of the queue is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A system call failed.
    #[error("the queue cannot be started: {0}")]
    Io(#[from] io::Error),
}

/// The data path of a device. Every method may be called from any thread.
pub struct BlkDevice {
    disk: Arc<Disk>,
    processors: Processors,
    state: Mutex<State>,
}

struct State {
    /// None once closed.
    engine: Option<Arc<dyn Engine>>,
    queues: BTreeMap<usize, Arc<Worker>>,
}

impl BlkDevice {
    /// Make a device without running queues.
    #[must_use]
    pub fn new(disk: Disk, engine: Arc<dyn Engine>) -> Self {
        let state = State {
            engine: Some(engine),
            queues: BTreeMap::new(),
        };
        Self {
            disk: Arc::new(disk),
            processors: Processors::new(),
            state: Mutex::new(state),
        }
    }

    /// The disk.
    #[must_use]
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Start serving a queue. `kick` is the driver's eventfd, if it has one.
    ///
    /// # Errors
    /// Every variant of [`StartError`].
    pub fn start_queue(
        &self,
        index: usize,
        memory: &GuestRam,
        config: QueueConfig,
        interrupt: Arc<Interrupt>,
        kick: Option<Kick>,
    ) -> Result<(), StartError> {
        self.start_logged_queue(index, memory, config, None, interrupt, kick)
    }

    /// Start serving a queue with an in-flight log: see [`DeviceQueue::with_log`].
    ///
    /// # Errors
    /// Every variant of [`StartError`].
    pub fn start_logged_queue(
        &self,
        index: usize,
        memory: &GuestRam,
        config: QueueConfig,
        log: Option<&LogRegion>,
        interrupt: Arc<Interrupt>,
        kick: Option<Kick>,
    ) -> Result<(), StartError> {
        if index >= QUEUE_LIMIT {
            return Err(StartError::NoSuchQueue { index });
        }
        let mut state = self.lock();
        let engine = Arc::clone(state.engine.as_ref().ok_or(StartError::Closed)?);
        if state
            .queues
            .get(&index)
            .is_some_and(|worker| !worker.is_stopped())
        {
            return Err(StartError::Running { index });
        }
        let size = config.size;
        let mut queue = DeviceQueue::with_log(memory.clone(), config, log)?;
        queue.allow_indirect_buffers(self.disk.max_chain_buffers());
        let disk = Arc::clone(&self.disk);
        let parts = (engine, self.processors);
        let worker = Worker::start((index, size), queue, memory, interrupt, kick, disk, parts)?;
        state.queues.insert(index, Arc::new(worker));
        Ok(())
    }

    /// Notify a queue. Does nothing if it is not running.
    pub fn kick(&self, index: usize) {
        if let Some(worker) = self.worker(index) {
            worker.kick();
        }
    }

    /// Request a stop: no more chains are popped; requests being executed finish. Those that are held are
    /// tried once more.
    pub fn request_stop(&self, index: usize) {
        let engine = self.lock().engine.clone();
        if let Some(worker) = self.worker(index) {
            worker.request_stop(engine.as_deref());
        }
    }

    /// Request a stop for a reset: no more chains are popped; those that were not begun, and flushes, are
    /// dropped. A read or write that was begun is waited for, and ends at its next piece.
    pub fn abandon(&self, index: usize) {
        let engine = self.lock().engine.clone();
        if let Some(worker) = self.worker(index) {
            worker.abandon(engine.as_deref());
        }
    }

    /// Requests that the storage failed, and that are held to be tried again.
    #[must_use]
    pub fn held(&self) -> usize {
        self.lock().queues.values().map(|one| one.held()).sum()
    }

    /// True if a queue has a request that is held.
    #[must_use]
    pub fn holds(&self, index: usize) -> bool {
        self.worker(index).is_some_and(|worker| worker.held() > 0)
    }

    /// Try what is held again now; with `give_up`, complete what fails again. Returns how many were held.
    pub fn resume(&self, give_up: bool) -> usize {
        let engine = self.lock().engine.clone();
        let held = self.held();
        if let Some(engine) = engine {
            engine.retry(give_up);
        }
        held
    }

    /// The request of a queue that has been executed longest.
    #[must_use]
    pub fn oldest(&self, index: usize) -> Option<RunningRequest> {
        self.worker(index)?.oldest()
    }

    /// True if a queue is stopped or was never started.
    #[must_use]
    pub fn is_stopped(&self, index: usize) -> bool {
        self.worker(index).is_none_or(|worker| worker.is_stopped())
    }

    /// The state of a stopped queue: that of the `QueueConfig` to restart it with. None while it is not
    /// stopped, and if it was never started.
    #[must_use]
    pub fn queue_state(&self, index: usize) -> Option<RingState> {
        self.worker(index)?.state()
    }

    /// Wait until a queue whose stop was requested is stopped, at most for `limit`. True if it is.
    #[must_use]
    pub fn join(&self, index: usize, limit: Duration) -> bool {
        self.worker(index).is_none_or(|worker| worker.join(limit))
    }

    /// Requests being executed.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.lock()
            .queues
            .values()
            .map(|worker| worker.in_flight())
            .sum()
    }

    /// Stop all queues for a reset, wait for them, and end the engine's threads. The image stays open
    /// until the device is dropped, and until a flush that was not waited for has ended.
    pub fn close(&self) {
        let (engine, queues) = {
            let mut state = self.lock();
            (
                state.engine.take(),
                state.queues.values().cloned().collect::<Vec<_>>(),
            )
        };
        for worker in &queues {
            worker.abandon(engine.as_deref());
        }
        for worker in &queues {
            while !worker.join(Duration::from_secs(60)) {}
        }
        if let Some(engine) = &engine {
            engine.detach();
        }
        drop(engine);
        self.disk.failures.close();
    }

    /// The worker of a queue. The lock is released before it is used, so nothing waits for a join.
    fn worker(&self, index: usize) -> Option<Arc<Worker>> {
        self.lock().queues.get(&index).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for BlkDevice {
    fn drop(&mut self) {
        self.close();
    }
}
