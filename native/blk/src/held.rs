//! A request that a fault holds back: for a time, or until the fault is taken back.
//!
//! It is parked in [`Running`](crate::running::Running) meanwhile, as one that waits for a flush is: a reset
//! takes it away, and it is named as what the storage is stuck in. What is kept here keeps neither the
//! image open nor guest memory mapped.

use std::iter;
use std::mem;
use std::sync::{Arc, Weak};

use virtmesh_device::{FaultKind, Faults, Held, Hit, now, release_after};

use crate::disk::Disk;
use crate::engine::Engine;
use crate::job::{CompletionSink, Job};
use crate::running::Turn;

/// What is needed to go on with a request.
struct HeldRequest {
    disk: Weak<Disk>,
    sink: Weak<dyn CompletionSink>,
    engine: Weak<dyn Engine>,
    started_ns: u64,
    turn: Turn,
    /// What is left of the fault.
    fault: Option<Hit>,
}

/// True for a fault that holds its request back.
pub fn holds_back(fault: Option<&Hit>) -> bool {
    fault.is_some_and(|hit| hit.kind == FaultKind::Hang || hit.delay.is_some())
}

/// Hold back those jobs of a batch whose faults say so. The others stay.
pub fn take_out(jobs: &mut Vec<Job>, faults: &Faults, engine: &Arc<dyn Engine>) {
    if !jobs.iter().any(|job| holds_back(job.fault.as_ref())) {
        return;
    }
    for job in mem::take(jobs) {
        match job.fault {
            Some(hit) if holds_back(Some(&hit)) => hold(job, hit, faults, engine),
            _ => jobs.push(job),
        }
    }
}

fn hold(mut job: Job, hit: Hit, faults: &Faults, engine: &Arc<dyn Engine>) {
    let sink = Arc::clone(&job.sink);
    let running = sink.running();
    let Some(turn) = running.begin(&job.request) else {
        drop(job);
        sink.discard(1);
        return;
    };
    job.begin(now());
    let held = Box::new(HeldRequest {
        disk: Arc::downgrade(&job.disk),
        sink: Arc::downgrade(&job.sink),
        engine: Arc::downgrade(engine),
        started_ns: job.started_ns,
        turn,
        fault: left_of(hit),
    });
    if !running.park(turn, job.request) {
        sink.discard(1);
        return;
    }
    match hit.delay {
        Some(delay) => release_after(delay, held),
        None => faults.hold(hit.id, held),
    }
}

/// What a fault does once its request goes on.
fn left_of(hit: Hit) -> Option<Hit> {
    let left = Hit { delay: None, ..hit };
    (!matches!(hit.kind, FaultKind::Delay | FaultKind::Hang)).then_some(left)
}

impl Held for HeldRequest {
    fn is_alive(&self) -> bool {
        let sink = self.sink.upgrade();
        sink.is_some_and(|sink| sink.running().has(self.turn))
    }

    fn release(self: Box<Self>) {
        let Some(sink) = self.sink.upgrade() else {
            return;
        };
        // Gone when a reset took it away, which has counted it then.
        let Some(request) = sink.running().end(self.turn) else {
            return;
        };
        let (Some(disk), Some(engine)) = (self.disk.upgrade(), self.engine.upgrade()) else {
            drop(request);
            sink.discard(1);
            return;
        };
        let job = Job {
            begun: true,
            fault: self.fault,
            ..Job::new(request, disk, Arc::clone(&sink), self.started_ns)
        };
        let mut done = Vec::new();
        engine.submit(&mut iter::once(job), &mut done);
        if !done.is_empty() {
            sink.complete(&done);
        }
    }
}
