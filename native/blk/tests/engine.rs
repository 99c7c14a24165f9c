//! The engine and its thread pool, without rings.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use common::jobs::{Counter, Gate, LARGE, disk, job};
use common::{PATIENCE as LIMIT, reads_from_page_cache};
use virtmesh_blk::job::{CompletionSink, Outcome};
use virtmesh_blk::request::Used;
use virtmesh_blk::running::Running;
use virtmesh_blk::spec::{VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_IN};
use virtmesh_blk::{Disk, Engine, SyncEngine};

/// Opens a gate.
struct Key(Mutex<Sender<()>>, Running);

impl CompletionSink for Key {
    fn complete(&self, _: &[Used]) {
        let key = self.0.lock().unwrap();
        (0..3).for_each(|_| key.send(()).unwrap());
    }

    fn discard(&self, count: usize) {
        panic!("{count} jobs were discarded");
    }

    fn running(&self) -> &Running {
        &self.1
    }
}

#[test]
fn flushes_never_keep_a_read_waiting() {
    let (disk, engine) = (disk(), SyncEngine::new(2, 1).unwrap());
    let ((key, open), (passed, outcomes)) = (channel(), channel());
    let gate = Arc::new(Gate {
        open: Mutex::new(open),
        passed,
        running: Running::default(),
    });
    let mut jobs: Vec<_> = (0..3)
        .map(|_| {
            job(
                &disk,
                VIRTIO_BLK_T_FLUSH,
                0,
                Arc::clone(&gate) as Arc<dyn CompletionSink>,
            )
        })
        .collect();
    let key = Arc::new(Key(Mutex::new(key), Running::default()));
    jobs.push(job(&disk, VIRTIO_BLK_T_IN, LARGE, key));
    engine.submit(&mut jobs.into_iter(), &mut Vec::new());
    let opened: Vec<_> = (0..3).map(|_| outcomes.recv_timeout(LIMIT)).collect();
    assert_eq!(opened, [Ok(true); 3]);
}

/// Tells which queue a completion is of.
struct Named(&'static str, Mutex<Sender<&'static str>>, Running);

impl CompletionSink for Named {
    fn complete(&self, _: &[Used]) {
        self.1.lock().unwrap().send(self.0).unwrap();
    }

    fn discard(&self, count: usize) {
        panic!("{count} jobs were discarded");
    }

    fn running(&self) -> &Running {
        &self.2
    }
}

#[test]
fn a_queue_with_one_request_does_not_wait_for_all_of_one_that_is_full() {
    const FULL: usize = 64;
    for kind in [VIRTIO_BLK_T_IN, VIRTIO_BLK_T_FLUSH] {
        let (disk, engine) = (disk(), SyncEngine::new(1, 3).unwrap());
        let ((key, open), (passed, _outcomes)) = (channel(), channel());
        let gate = Arc::new(Gate {
            open: Mutex::new(open),
            passed,
            running: Running::default(),
        });
        let (ended, order) = channel();
        let named = |name| {
            let sink = Named(name, Mutex::new(ended.clone()), Running::default());
            Arc::new(sink) as Arc<dyn CompletionSink>
        };
        let (full, alone) = (named("full"), named("alone"));
        // The one thread is held until all are there.
        let held = job(&disk, VIRTIO_BLK_T_IN, LARGE, gate);
        engine.submit(&mut std::iter::once(held), &mut Vec::new());
        let many = (0..FULL).map(|_| job(&disk, kind, LARGE, Arc::clone(&full)));
        engine.submit(&mut many.collect::<Vec<_>>().into_iter(), &mut Vec::new());
        let one = job(&disk, kind, LARGE, alone);
        engine.submit(&mut std::iter::once(one), &mut Vec::new());
        key.send(()).unwrap();
        let first: Vec<_> = (0..2).map(|_| order.recv_timeout(LIMIT).unwrap()).collect();
        assert!(first.contains(&"alone"), "{first:?}");
    }
}

/// Submits a read for each that completes, until a flush has completed or patience ends.
struct Load {
    disk: Arc<Disk>,
    engine: Arc<SyncEngine>,
    reads: AtomicUsize,
    flushed: Arc<Counter>,
    ended: Sender<()>,
}

struct Reads(Arc<Load>, Running);

impl Reads {
    const DEPTH: usize = 16;
    const READ_LIMIT: usize = 2000;

    fn submit(&self) {
        let sink = Arc::new(Reads(Arc::clone(&self.0), Running::default()));
        let read = job(&self.0.disk, VIRTIO_BLK_T_IN, LARGE, sink);
        self.0
            .engine
            .submit(&mut std::iter::once(read), &mut Vec::new());
    }
}

impl CompletionSink for Reads {
    fn complete(&self, _: &[Used]) {
        let flushed = self.0.flushed.0.load(Ordering::SeqCst) > 0;
        if flushed || self.0.reads.fetch_add(1, Ordering::SeqCst) >= Self::READ_LIMIT {
            let _ = self.0.ended.send(());
        } else {
            self.submit();
        }
    }

    fn discard(&self, count: usize) {
        panic!("{count} jobs were discarded");
    }

    fn running(&self) -> &Running {
        &self.1
    }
}

#[test]
fn reads_never_keep_a_flush_waiting_for_ever() {
    let (disk, engine) = (disk(), Arc::new(SyncEngine::new(2, 1).unwrap()));
    let (ended, end) = channel();
    let flushed = Arc::new(Counter::default());
    let load = Arc::new(Load {
        disk: Arc::clone(&disk),
        engine: Arc::clone(&engine),
        reads: AtomicUsize::new(0),
        flushed: Arc::clone(&flushed),
        ended,
    });
    (0..Reads::DEPTH).for_each(|_| Reads(Arc::clone(&load), Running::default()).submit());
    let flush = job(&disk, VIRTIO_BLK_T_FLUSH, 0, flushed);
    engine.submit(&mut std::iter::once(flush), &mut Vec::new());
    for _ in 0..Reads::DEPTH {
        end.recv_timeout(LIMIT).unwrap();
    }
    assert!(load.reads.load(Ordering::SeqCst) < Reads::READ_LIMIT);
}

#[test]
fn an_engine_that_is_dropped_executes_what_it_took() {
    let (disk, engine) = (disk(), SyncEngine::new(3, 1).unwrap());
    let counter = Arc::new(Counter::default());
    let jobs: Vec<_> = [(VIRTIO_BLK_T_FLUSH, 0), (VIRTIO_BLK_T_IN, LARGE)]
        .into_iter()
        .cycle()
        .take(40)
        .map(|(kind, input)| {
            job(
                &disk,
                kind,
                input,
                Arc::clone(&counter) as Arc<dyn CompletionSink>,
            )
        })
        .collect();
    let mut done = Vec::new();
    engine.submit(&mut jobs.into_iter(), &mut done);
    drop(engine);
    assert_eq!((counter.0.load(Ordering::SeqCst), done.len()), (40, 0));
}

/// A reset does not wait for threads that are busy with others' requests.
#[test]
fn jobs_of_an_abandoned_queue_that_were_not_begun_are_discarded() {
    let (disk, engine) = (disk(), SyncEngine::new(1, 1).unwrap());
    let ((key, open), (passed, outcomes)) = (channel(), channel());
    let gate = Arc::new(Gate {
        open: Mutex::new(open),
        passed,
        running: Running::default(),
    });
    let (left, kept) = (Arc::new(Counter::default()), Arc::new(Counter::default()));
    let sinks: [Arc<dyn CompletionSink>; 4] = [gate, left.clone(), kept.clone(), left.clone()];
    let jobs = sinks.map(|sink| job(&disk, VIRTIO_BLK_T_IN, LARGE, sink));
    engine.submit(&mut jobs.into_iter(), &mut Vec::new());
    assert_eq!(left.1.abandon(), 0);
    let sink: Arc<dyn CompletionSink> = left.clone();
    engine.discard(&sink);
    assert_eq!(left.2.load(Ordering::SeqCst), 2);
    key.send(()).unwrap();
    assert_eq!(outcomes.recv_timeout(LIMIT), Ok(true));
    drop(engine);
    let counts = [left, kept].map(|one| one.0.load(Ordering::SeqCst));
    assert_eq!(counts, [0, 1]);
}

#[test]
fn a_job_of_an_abandoned_queue_does_not_begin() {
    let disk = disk();
    for kind in [VIRTIO_BLK_T_IN, VIRTIO_BLK_T_FLUSH] {
        let sink = Arc::new(Counter::default());
        let job = job(&disk, kind, 0, sink.clone());
        assert_eq!(sink.1.abandon(), 0);
        assert!(matches!(job.execute(&mut 0), Outcome::Dropped));
        assert_eq!(sink.2.load(Ordering::SeqCst), 1);
    }
    assert_eq!(disk.image.flushes(), 0);
}

#[test]
fn what_is_in_the_page_cache_is_executed_at_once() {
    let (disk, engine) = (disk(), SyncEngine::new(1, 1).unwrap());
    let counter = Arc::new(Counter::default());
    let sink = Arc::clone(&counter) as Arc<dyn CompletionSink>;
    let jobs = vec![job(&disk, VIRTIO_BLK_T_IN, 4096, sink)];
    let mut done = Vec::new();
    engine.submit(&mut jobs.into_iter(), &mut done);
    if reads_from_page_cache() {
        assert_eq!(done, [(0, 4097)]);
        assert_eq!(counter.0.load(Ordering::SeqCst), 0);
    } else {
        // A thread of the pool executes it, which the drop waits for.
        drop(engine);
        assert!(done.is_empty());
        assert_eq!(counter.0.load(Ordering::SeqCst), 1);
    }
}
