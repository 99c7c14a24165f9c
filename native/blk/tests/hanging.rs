//! Requests whose storage hangs keep no other queue waiting, and no more threads than are allowed.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Instant;

use common::jobs::{Counter, LARGE, disk, job};
use common::{PATIENCE, image_file, options};
use virtmesh_blk::job::CompletionSink;
use virtmesh_blk::request::Used;
use virtmesh_blk::running::Running;
use virtmesh_blk::spec::{VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_IN};
use virtmesh_blk::{Disk, DiskOptions, Engine, Image, SyncEngine};

/// Threads of the engines.
const THREADS: usize = 4;
/// More than a queue may have.
const MANY: usize = 200;
/// Requests of another queue, one after the other.
const ROUNDS: usize = 50;

/// A queue whose threads stay stuck until it is dropped: what they do last for a request waits.
struct Stuck {
    running: Running,
    count: AtomicUsize,
    open: Mutex<bool>,
    opened: Condvar,
}

impl Stuck {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            running: Running::default(),
            count: AtomicUsize::new(0),
            open: Mutex::new(false),
            opened: Condvar::new(),
        })
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    fn await_count(&self, count: usize) {
        let end = Instant::now() + PATIENCE;
        while self.count.load(Ordering::SeqCst) < count {
            assert!(Instant::now() < end, "{:?} are stuck", self.count);
            thread::yield_now();
        }
    }
}

impl CompletionSink for Stuck {
    fn complete(&self, _: &[Used]) {
        self.count.fetch_add(1, Ordering::SeqCst);
        let open = self.open.lock().unwrap();
        drop(self.opened.wait_while(open, |open| !*open).unwrap());
    }

    fn discard(&self, _: usize) {}

    fn running(&self) -> &Running {
        &self.running
    }
}

/// A queue that is told of each completion.
struct Told(Mutex<Sender<()>>, Running);

impl CompletionSink for Told {
    fn complete(&self, _: &[Used]) {
        self.0.lock().unwrap().send(()).unwrap();
    }

    fn discard(&self, count: usize) {
        panic!("{count} jobs were discarded");
    }

    fn running(&self) -> &Running {
        &self.1
    }
}

/// A queue whose second failure is told, and waits until it may be held.
struct Failing {
    running: Running,
    asked: AtomicUsize,
    fails: Mutex<Sender<()>>,
    held: Mutex<Receiver<()>>,
    done: Mutex<Sender<u32>>,
}

impl CompletionSink for Failing {
    fn complete(&self, used: &[Used]) {
        self.done.lock().unwrap().send(used[0].1).unwrap();
    }

    fn discard(&self, count: usize) {
        panic!("{count} jobs were discarded");
    }

    fn running(&self) -> &Running {
        &self.running
    }

    /// Asked when it has failed, and when it is to be held.
    fn may_hold(&self) -> bool {
        if self.asked.fetch_add(1, Ordering::SeqCst) == 2 {
            self.fails.lock().unwrap().send(()).unwrap();
            let may = self.held.lock().unwrap().recv_timeout(PATIENCE);
            may.unwrap();
        }
        true
    }
}

struct Other {
    sink: Arc<Told>,
    told: Receiver<()>,
}

impl Other {
    fn new() -> Self {
        let (sender, told) = channel();
        let sink = Arc::new(Told(Mutex::new(sender), Running::default()));
        Self { sink, told }
    }

    /// Execute a request to its end.
    fn ask(&self, engine: &SyncEngine, disk: &Arc<Disk>, kind: u32) {
        submit(engine, disk, kind, &self.sink, 1);
        self.told.recv_timeout(PATIENCE).expect("it goes on");
    }
}

fn submit<S>(engine: &SyncEngine, disk: &Arc<Disk>, kind: u32, sink: &Arc<S>, count: usize)
where
    S: CompletionSink + 'static,
{
    let input = if kind == VIRTIO_BLK_T_IN { LARGE } else { 0 };
    let one = || {
        job(
            disk,
            kind,
            input,
            Arc::clone(sink) as Arc<dyn CompletionSink>,
        )
    };
    engine.submit(&mut (0..count).map(|_| one()), &mut Vec::new());
}

#[test]
fn requests_that_hang_keep_no_other_queue_waiting() {
    for kind in [VIRTIO_BLK_T_IN, VIRTIO_BLK_T_FLUSH] {
        let (disk, engine) = (disk(), SyncEngine::new(THREADS, 2).unwrap());
        let (stuck, other) = (Stuck::new(), Other::new());
        submit(&engine, &disk, kind, &stuck, MANY);
        for _ in 0..ROUNDS {
            other.ask(&engine, &disk, VIRTIO_BLK_T_IN);
            other.ask(&engine, &disk, VIRTIO_BLK_T_FLUSH);
        }
        stuck.open();
        drop(engine);
        assert_eq!(stuck.count.load(Ordering::SeqCst), MANY);
    }
}

#[test]
fn what_answers_goes_on_in_a_queue_with_requests_that_hang() {
    let (disk, engine) = (disk(), SyncEngine::new(THREADS, 1).unwrap());
    let (stuck, other) = (Stuck::new(), Other::new());
    submit(&engine, &disk, VIRTIO_BLK_T_IN, &stuck, 2 * THREADS);
    stuck.await_count(2 * THREADS);
    other.ask(&engine, &disk, VIRTIO_BLK_T_IN);
    stuck.open();
}

#[test]
fn a_queue_has_its_share_of_threads_and_each_other_one_its_own() {
    let (disk, engine) = (disk(), SyncEngine::new(THREADS, 8).unwrap());
    let stuck: Vec<_> = (0..7).map(|_| Stuck::new()).collect();
    for one in &stuck {
        submit(&engine, &disk, VIRTIO_BLK_T_IN, one, MANY);
        one.await_count(8);
    }
    let other = Other::new();
    for _ in 0..ROUNDS {
        other.ask(&engine, &disk, VIRTIO_BLK_T_IN);
    }
    let counts: Vec<_> = stuck
        .iter()
        .map(|one| one.count.load(Ordering::SeqCst))
        .collect();
    assert_eq!(counts, [8; 7]);
    for one in &stuck {
        one.open();
    }
}

#[test]
fn a_disk_of_one_thread_goes_on_too() {
    let (disk, engine) = (disk(), SyncEngine::new(1, 1).unwrap());
    let (stuck, other) = (Stuck::new(), Other::new());
    submit(&engine, &disk, VIRTIO_BLK_T_FLUSH, &stuck, 1);
    stuck.await_count(1);
    other.ask(&engine, &disk, VIRTIO_BLK_T_IN);
    other.ask(&engine, &disk, VIRTIO_BLK_T_FLUSH);
    stuck.open();
}

#[test]
fn a_queue_that_is_abandoned_leaves_what_was_not_begun() {
    let (disk, engine) = (disk(), SyncEngine::new(THREADS, 2).unwrap());
    let (stuck, left) = (Stuck::new(), Arc::new(Counter::default()));
    submit(&engine, &disk, VIRTIO_BLK_T_IN, &stuck, MANY);
    stuck.await_count(THREADS + 1);
    assert_eq!(stuck.running.abandon(), 0);
    engine.discard(&(Arc::clone(&stuck) as Arc<dyn CompletionSink>));
    submit(&engine, &disk, VIRTIO_BLK_T_IN, &left, 10);
    stuck.open();
    drop(engine);
    assert!(stuck.count.load(Ordering::SeqCst) < MANY);
    assert_eq!(left.0.load(Ordering::SeqCst), 10);
}

#[test]
fn what_is_being_tried_when_it_is_given_up_is_held_no_more() {
    let file = image_file(&vec![1; 1 << 20]);
    let image = Image::open(file.path(), false, 512).unwrap();
    let options = DiskOptions {
        hold_failed: true,
        ..options()
    };
    let disk = Arc::new(Disk::new(image, options).unwrap());
    file.as_file().set_len(0).unwrap();
    let ((fails, failure), (may_hold, held), (done, told)) = (channel(), channel(), channel());
    let sink = Arc::new(Failing {
        running: Running::default(),
        asked: AtomicUsize::new(0),
        fails: Mutex::new(fails),
        held: Mutex::new(held),
        done: Mutex::new(done),
    });
    let engine = SyncEngine::new(1, 1).unwrap();
    let jobs = vec![job(&disk, VIRTIO_BLK_T_IN, LARGE, sink.clone())];
    engine.submit(&mut jobs.into_iter(), &mut Vec::new());
    failure.recv_timeout(PATIENCE).unwrap();
    engine.retry(true);
    may_hold.send(()).unwrap();
    told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(sink.running.held(), 0);
}
