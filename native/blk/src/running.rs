//! The requests of one queue that may be waiting for the storage.
//!
//! Invariant: a request is here from before its first system call that may wait until after its last
//! one. It is parked while it only waits for a flush: nothing needs its guest memory then. A reset
//! takes parked requests away, and whoever executes one finds it gone and completes nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use virtmesh_device::now;

use crate::request::{Request, RequestType};

/// A request that is being executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunningRequest {
    /// The head of its chain.
    pub head: u16,
    /// Its type.
    pub request_type: RequestType,
    /// Its first sector.
    pub sector: u64,
    /// When its execution began ([`now`]).
    pub since_ns: u64,
    /// The cause of its failure, of one that is held and tried again.
    pub held: Option<&'static str>,
}

/// The requests of one queue that are being executed.
#[derive(Debug, Default)]
pub struct Running {
    abandoned: AtomicBool,
    table: Mutex<Table>,
}

/// Names an execution among those of its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn(u64);

#[derive(Debug, Default)]
struct Table {
    begun: u64,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    turn: Turn,
    about: RunningRequest,
    /// The request, while it only waits for a flush.
    parked: Option<Request>,
}

impl Running {
    /// True once the queue was abandoned: nothing may begin any more, and what runs ends early.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::SeqCst)
    }

    /// The flag behind [`Running::is_abandoned`], for loops over pieces of a transfer.
    #[must_use]
    pub fn abandoned(&self) -> &AtomicBool {
        &self.abandoned
    }

    /// Begin to execute a request. None if the queue was abandoned: then drop it.
    #[must_use]
    pub fn begin(&self, request: &Request) -> Option<Turn> {
        let about = RunningRequest {
            head: request.head,
            request_type: request.request_type,
            sector: request.sector(),
            since_ns: now(),
            held: None,
        };
        let mut table = self.lock();
        // Race: `abandon` runs on another thread. It sets the flag under this lock.
        if self.is_abandoned() {
            return None;
        }
        table.begun += 1;
        let turn = Turn(table.begun);
        table.entries.push(Entry {
            turn,
            about,
            parked: None,
        });
        Some(turn)
    }

    /// Take note that the storage failed a request, and that it is tried again.
    pub fn hold(&self, turn: Turn, cause: &'static str) {
        let mut table = self.lock();
        if let Some(entry) = table.entries.iter_mut().find(|entry| entry.turn == turn) {
            entry.about.held = Some(cause);
        }
    }

    /// Requests that the storage failed, and that are tried again.
    #[must_use]
    pub fn held(&self) -> usize {
        let table = self.lock();
        let held = table.entries.iter().filter(|one| one.about.held.is_some());
        held.count()
    }

    /// Leave a request here while it only waits for a flush. False if the queue was abandoned: then the
    /// request is dropped and has ended.
    #[must_use]
    pub fn park(&self, turn: Turn, request: Request) -> bool {
        let mut table = self.lock();
        // Race: as in `begin`. What is parked after `abandon`, nobody would take away.
        if self.is_abandoned() {
            table.take(turn);
            return false;
        }
        if let Some(entry) = table.entries.iter_mut().find(|entry| entry.turn == turn) {
            entry.parked = Some(request);
        }
        true
    }

    /// End an execution. Returns its request if it was parked, and no reset took it away.
    pub fn end(&self, turn: Turn) -> Option<Request> {
        self.lock().take(turn)?.parked
    }

    /// True while an execution has not ended.
    #[must_use]
    pub fn has(&self, turn: Turn) -> bool {
        self.lock().entries.iter().any(|entry| entry.turn == turn)
    }

    /// Abandon the queue. Returns how many parked requests were taken away; their memory is released.
    pub fn abandon(&self) -> usize {
        let mut table = self.lock();
        self.abandoned.store(true, Ordering::SeqCst);
        let before = table.entries.len();
        table.entries.retain(|entry| entry.parked.is_none());
        before - table.entries.len()
    }

    /// The request that has been running longest.
    #[must_use]
    pub fn oldest(&self) -> Option<RunningRequest> {
        let table = self.lock();
        let running = table.entries.iter().map(|entry| entry.about);
        running.min_by_key(|about| about.since_ns)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing panics while it is held.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn take(&mut self, turn: Turn) -> Option<Entry> {
        let index = self.entries.iter().position(|entry| entry.turn == turn)?;
        Some(self.entries.swap_remove(index))
    }
}
