//! What a slow or hanging write in line may keep waiting, by an engine that is as slow as a test says.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::{Driver, FEATURES, PATIENCE, PLAIN, Rig, header, image_file, options};
use virtmesh_blk::job::{CompletionSink, Job};
use virtmesh_blk::request::Used;
use virtmesh_blk::spec::{VIRTIO_BLK_S_OK, VIRTIO_BLK_T_OUT};
use virtmesh_blk::{BlkDevice, Disk, Engine, Image, SyncEngine};
use virtmesh_device::Interrupt;
use virtmesh_ring::Segment;

const WRITES: usize = 8;
const BLOCK: usize = 4096;
/// Longer than a write that goes on in line, and shorter than one that loses the seat.
const SLOW: Duration = Duration::from_millis(12);

/// An engine that calls something before it executes a job in line.
struct Delayed<F> {
    engine: SyncEngine,
    before: F,
    in_line: Arc<AtomicUsize>,
}

impl<F: Fn() + Send + Sync> Engine for Delayed<F> {
    fn submit(&self, jobs: &mut dyn Iterator<Item = Job>, done: &mut Vec<Used>) {
        self.engine.submit(jobs, done);
    }

    fn execute(&self, job: Job, free_ns: &mut u64) -> Option<Used> {
        self.in_line.fetch_add(1, Ordering::SeqCst);
        (self.before)();
        self.engine.execute(job, free_ns)
    }

    fn discard(&self, sink: &Arc<dyn CompletionSink>) {
        self.engine.discard(sink);
    }

    fn retry(&self, is_last_try: bool) {
        self.engine.retry(is_last_try);
    }

    fn detach(&self) {
        self.engine.detach();
    }
}

/// A disk, and how many writes were begun in line.
fn rig(before: impl Fn() + Send + Sync + 'static) -> (Rig, Arc<AtomicUsize>) {
    let file = image_file(&vec![0; BLOCK * WRITES]);
    let disk = Disk::new(Image::open(file.path(), false, 512).unwrap(), options()).unwrap();
    disk.set_features(FEATURES);
    let in_line = Arc::new(AtomicUsize::new(0));
    let engine = Delayed {
        engine: SyncEngine::new(1, 1).unwrap(),
        before,
        in_line: Arc::clone(&in_line),
    };
    let rig = Rig {
        device: BlkDevice::new(disk, Arc::new(engine)),
        interrupt: Arc::new(Interrupt::new().unwrap()),
        file,
    };
    (rig, in_line)
}

fn write(driver: &mut Driver, block: usize) {
    let head = header(VIRTIO_BLK_T_OUT, (block * BLOCK / 512) as u64);
    driver.send(head, &[1; BLOCK], 0).unwrap();
}

/// A gate: what comes to it, and what lets it go on.
fn gate() -> (impl Fn() + Send + Sync, Receiver<()>, Sender<()>) {
    let ((tell, told), (open, opened)) = (channel(), channel());
    let (tell, opened) = (Mutex::new(tell), Mutex::new(opened));
    let pass = move || {
        tell.lock().unwrap().send(()).unwrap();
        let _ = opened.lock().unwrap().recv_timeout(2 * PATIENCE);
    };
    (pass, told, open)
}

#[test]
fn what_was_popped_with_a_slow_write_does_not_wait_for_one_slow_write_after_the_other() {
    let (rig, in_line) = rig(|| {
        let end = Instant::now() + SLOW;
        while Instant::now() < end {
            thread::yield_now();
        }
    });
    let mut driver = Driver::new(PLAIN, WRITES as u64);
    (0..WRITES).for_each(|block| write(&mut driver, block));
    rig.start(0, &driver);
    let mut count = 0;
    while count < WRITES {
        let answers = driver.wait();
        count += answers.len();
        assert!(answers.iter().all(|one| one.status == VIRTIO_BLK_S_OK));
    }
    assert_eq!(in_line.load(Ordering::SeqCst), 1);
}

#[test]
fn a_malformed_chain_behind_a_write_that_hangs_fails_the_queue_all_the_same() {
    let (pass, came, open) = gate();
    let (rig, in_line) = rig(pass);
    let mut driver = Driver::new(PLAIN, 4);
    write(&mut driver, 0);
    let data = Segment {
        addr: driver.data(),
        len: 16,
    };
    driver.queue.add(&[data], &[]).unwrap();
    rig.start(0, &driver);
    came.recv_timeout(PATIENCE).unwrap();
    let end = Instant::now() + PATIENCE;
    while rig.interrupt.fault().is_none() {
        assert!(Instant::now() < end, "the queue goes on");
        thread::yield_now();
    }
    open.send(()).unwrap();
    assert_eq!(driver.wait().len(), 1);
    assert!(rig.device.join(0, PATIENCE));
    assert_eq!(in_line.load(Ordering::SeqCst), 1);
}

#[test]
fn a_reset_after_a_take_over_stops_the_queue_once_the_write_ends() {
    let (pass, came, open) = gate();
    let (rig, _) = rig(pass);
    for round in 0..4 {
        let mut driver = Driver::new(PLAIN, WRITES as u64);
        (0..WRITES).for_each(|block| write(&mut driver, block));
        rig.start(0, &driver);
        came.recv_timeout(PATIENCE).unwrap();
        // Those that were popped with it go on.
        let mut count = 0;
        while count < WRITES - 1 {
            count += driver.wait().len();
        }
        rig.device.abandon(0);
        assert!(!rig.device.is_stopped(0), "{round}");
        open.send(()).unwrap();
        assert!(rig.device.join(0, PATIENCE));
        assert_eq!(rig.device.in_flight(), 0);
        assert!(rig.device.is_stopped(0));
    }
}
