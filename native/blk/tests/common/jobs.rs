//! Jobs for an engine, and sinks for them, without rings.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};

use virtmesh_blk::job::{CompletionSink, Job};
use virtmesh_blk::request::{Request, Used};
use virtmesh_blk::running::Running;
use virtmesh_blk::{Disk, Image};
use virtmesh_device::now;
use virtmesh_ring::{Chain, Segment};

use super::{BASE, FEATURES, PATIENCE, guest_ram, header, image_file, options};

/// More than is executed on the thread of a queue.
pub const LARGE: u32 = 128 << 10;

/// A disk of 1 MiB.
pub fn disk() -> Arc<Disk> {
    let file = image_file(&vec![1; 1 << 20]);
    let disk = Disk::new(Image::open(file.path(), false, 512).unwrap(), options()).unwrap();
    disk.set_features(FEATURES);
    Arc::new(disk)
}

/// A request with `input` writable bytes of data.
pub fn job(disk: &Arc<Disk>, kind: u32, input: u32, sink: Arc<dyn CompletionSink>) -> Job {
    let ram = guest_ram(1 << 20);
    ram.write(BASE, &header(kind, 0)).unwrap();
    let segment = |addr, len| [Segment { addr, len }].into_iter().collect();
    let chain = Chain {
        head: 0,
        readable: segment(BASE, 16),
        writable: segment(BASE + 16, input + 1),
    };
    let request = Request::parse(&chain, &ram, &disk.request_limits()).unwrap();
    Job::new(request, Arc::clone(disk), sink, now())
}

/// Counts completions, and jobs that were discarded.
#[derive(Default)]
pub struct Counter(pub AtomicUsize, pub Running, pub AtomicUsize);

impl CompletionSink for Counter {
    fn complete(&self, used: &[Used]) {
        self.0.fetch_add(used.len(), Ordering::SeqCst);
    }

    fn discard(&self, count: usize) {
        self.2.fetch_add(count, Ordering::SeqCst);
    }

    fn running(&self) -> &Running {
        &self.1
    }
}

/// Holds the thread that completes until told to go on.
pub struct Gate {
    pub open: Mutex<Receiver<()>>,
    pub passed: Sender<bool>,
    pub running: Running,
}

impl CompletionSink for Gate {
    fn complete(&self, _: &[Used]) {
        let opened = self.open.lock().unwrap().recv_timeout(PATIENCE).is_ok();
        self.passed.send(opened).unwrap();
    }

    fn discard(&self, count: usize) {
        panic!("{count} jobs were discarded");
    }

    fn running(&self) -> &Running {
        &self.running
    }
}
