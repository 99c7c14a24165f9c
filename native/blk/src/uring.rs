//! The engine that reads and writes by `io_uring`, for disks past the page cache.
//!
//! Each queue has a ring of its own, which its thread fills and empties ([`Flights`]): it begins many reads and
//! writes by one system call, and waits for them and for the driver at once. What is not a plain read or
//! write goes to the pool of threads: flushes, ranges, what a fault takes hold of, what is not aligned, and
//! what the system did not do whole, which is done again there, so that errors are reported and held in one
//! place.
//!
//! Rings are made with the engine, and are limited for good to reading, writing and waiting for what is open:
//! seccomp does not see what goes through a ring, and lets a service make no other one.

mod flights;

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};

use io_uring::register::Restriction;
use io_uring::{IoUring, opcode, squeue};

pub use flights::Flights;
pub(crate) use flights::Heard;

use crate::engine::{Engine, SyncEngine};
use crate::image::Image;
use crate::job::{CompletionSink, Job};
use crate::request::{SECTOR_SIZE, Used};

/// Fewest and most requests that a queue has in its ring.
const ENTRIES: (u32, u32) = (8, 1024);
/// File systems that may ask another host, or another process, for what they should know at once
/// (`linux/magic.h`): FUSE, NFS, SMB, SMB2, 9P, Ceph, AFS.
const REMOTE: [u32; 7] = [
    0x6573_5546,
    0x6969,
    0xff53_4d42,
    0xfe53_4d42,
    0x0102_1997,
    0x00c3_6400,
    0x5346_414f,
];

/// Why there is no such engine.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// The image goes through the page cache.
    #[error("it is for disks past the page cache")]
    Cached,
    /// A request may be a part of a block of the storage, which has to be read before it is written.
    #[error("the storage has blocks of {0} bytes")]
    LargeBlocks(u64),
    /// Nothing tells the next service that the reads of a killed one go on: readers share the image, and
    /// such a read comes into memory that the driver may use for something else by then.
    #[error("the image is read-only")]
    ReadOnly,
    /// The end of the image is not known at once.
    #[error("the image is on another host, or in another process")]
    Remote,
    /// The system refuses it.
    #[error("the system refuses it: {0}")]
    Refused(#[from] io::Error),
}

/// Executes requests by rings and a pool of threads.
pub struct UringEngine {
    pool: Arc<SyncEngine>,
    rings: Arc<Rings>,
}

/// The rings by queue; None while the queue's thread has it.
pub(crate) struct Rings(Vec<Mutex<Option<IoUring>>>);

impl UringEngine {
    /// Make a ring for each of so many queues, of so many entries; `pool` does what rings do not.
    ///
    /// # Errors
    /// Why there is no such engine here.
    pub fn new(
        pool: Arc<SyncEngine>,
        queues: usize,
        entries: u32,
        image: &Image,
    ) -> Result<Self, Unavailable> {
        let direct = image.direct().ok_or(Unavailable::Cached)?;
        if image.is_read_only() {
            return Err(Unavailable::ReadOnly);
        }
        if direct.block_size() > SECTOR_SIZE {
            return Err(Unavailable::LargeBlocks(direct.block_size()));
        }
        if !image.is_block_node() && is_remote(image.file())? {
            return Err(Unavailable::Remote);
        }
        let entries = entries.clamp(ENTRIES.0, ENTRIES.1);
        let file = image.file().as_raw_fd();
        let rings = (0..queues).map(|_| Ok(Mutex::new(Some(make_ring(entries, file)?))));
        let rings = Arc::new(Rings(rings.collect::<io::Result<_>>()?));
        Ok(Self { pool, rings })
    }
}

impl Engine for UringEngine {
    fn submit(&self, jobs: &mut dyn Iterator<Item = Job>, done: &mut Vec<Used>) {
        self.pool.submit(jobs, done);
    }

    fn execute(&self, job: Job, free_ns: &mut u64) -> Option<Used> {
        self.pool.execute(job, free_ns)
    }

    fn discard(&self, sink: &Arc<dyn CompletionSink>) {
        self.pool.discard(sink);
    }

    fn retry(&self, is_last_try: bool) {
        self.pool.retry(is_last_try);
    }

    fn detach(&self) {
        self.pool.detach();
    }

    fn flights(&self, queue: usize) -> Option<Flights> {
        let ring = self.rings.take(queue)?;
        Some(Flights::new(ring, queue, Arc::clone(&self.rings)))
    }
}

impl Rings {
    fn take(&self, queue: usize) -> Option<IoUring> {
        let ring = self.0.get(queue)?;
        // Nothing panics while it is held.
        ring.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, queue: usize, ring: IoUring) {
        if let Some(place) = self.0.get(queue) {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(ring);
        }
    }
}

/// Make a ring that can only read, write and wait for what is open. The image is its registered file 0.
///
/// The system makes the number of entries a power of two. An odd one is asked for: by that the filter of the
/// service tells our rings from libuv's, which would be limited to nothing (`sandbox/filters.py`).
fn make_ring(entries: u32, file: RawFd) -> io::Result<IoUring> {
    let entries = entries.next_power_of_two() - 1;
    let build = |coop: bool| {
        let mut builder = IoUring::builder();
        builder.dontfork().setup_clamp().setup_r_disabled();
        if coop {
            // A thread that is busy is not interrupted for what has ended: it looks by itself.
            builder.setup_coop_taskrun();
        }
        builder.build(entries)
    };
    // Linux before 5.19 does not know it.
    let ring = build(true).or_else(|_| build(false))?;
    let submitter = ring.submitter();
    submitter.register_files(&[file])?;
    let mut limits = [
        Restriction::sqe_op(opcode::Read::CODE),
        Restriction::sqe_op(opcode::Readv::CODE),
        Restriction::sqe_op(opcode::Write::CODE),
        Restriction::sqe_op(opcode::Writev::CODE),
        Restriction::sqe_op(opcode::PollAdd::CODE),
        Restriction::sqe_op(opcode::PollRemove::CODE),
        Restriction::sqe_flags_allowed(squeue::Flags::FIXED_FILE.bits()),
    ];
    submitter.register_restrictions(&mut limits)?;
    submitter.register_enable_rings()?;
    Ok(ring)
}

fn is_remote(file: &File) -> io::Result<bool> {
    // SAFETY: all of its bytes may be 0.
    let mut about: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the answer is as large as it has to be.
    if unsafe { libc::fstatfs(file.as_raw_fd(), &raw mut about) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // Magic numbers have 32 bits, however wide the field is.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "32 bits"
    )]
    let magic = about.f_type as u32;
    Ok(REMOTE.contains(&magic))
}
