//! The ring of one queue, as the thread that serves the queue uses it.
//!
//! Invariant: a request is in `flights` from before the system may read its entry until its completion was
//! taken. Its job keeps guest memory mapped, so a lane is dropped only when it has none; if the system takes
//! entries no more, what it may still be executing is left behind for good.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use io_uring::{IoUring, opcode, squeue, types};

use super::Rings;
use crate::image::Look;
use crate::job::Job;
use crate::request::{Operation, Used};
use crate::running::Turn;
use crate::under_way::WriteUnderWay;

/// Most bytes of a request: a longer one is executed in pieces, between which a reset can end it.
const LONGEST: u64 = 1 << 20;
/// Most pieces of a request (`UIO_MAXIOV`).
const PIECES_MAX: usize = 1024;
/// The image, as the ring knows it.
const IMAGE: types::Fixed = types::Fixed(0);
/// Until entries are offered again that the system had no memory for.
const PAUSE: Duration = Duration::from_millis(1);

/// A ring, and the requests that are in it.
pub struct Lane {
    /// Here until the lane is dropped.
    ring: Option<IoUring>,
    queue: usize,
    home: Arc<Rings>,
    flights: Vec<Option<Flight>>,
    /// Indexes of `flights` that are free.
    free: Vec<usize>,
    /// Jobs that are left to others; used again.
    rest: Vec<Job>,
}

struct Flight {
    job: Job,
    turn: Turn,
    length: u32,
    _write: Option<WriteUnderWay>,
}

impl Lane {
    pub(super) fn new(ring: IoUring, queue: usize, home: Arc<Rings>) -> Self {
        let count = ring.params().sq_entries() as usize;
        Self {
            ring: Some(ring),
            queue,
            home,
            flights: (0..count).map(|_| None).collect(),
            free: (0..count).rev().collect(),
            rest: Vec::new(),
        }
    }

    /// Begin those jobs that are for a ring. The others stay.
    ///
    /// # Errors
    /// When the system takes no entries, for a reason that does not pass.
    pub(crate) fn submit(&mut self, jobs: &mut Vec<Job>) -> io::Result<()> {
        let look = Look::default();
        let mut rest = mem::take(&mut self.rest);
        let before = self.free.len();
        rest.extend(jobs.drain(..).filter_map(|job| self.begin(job, &look)));
        self.rest = mem::replace(jobs, rest);
        if self.free.len() == before {
            return Ok(());
        }
        self.enter(0)
    }

    /// Begin a job. Returns it if it is left to others.
    fn begin(&mut self, mut job: Job, look: &Look) -> Option<Job> {
        let (Some(ring), Some(index)) = (&mut self.ring, self.free.last()) else {
            return Some(job);
        };
        let Some((entry, length, write)) = entry_of(&job, look) else {
            return Some(job);
        };
        let Some(turn) = job.sink.running().begin(&job.request) else {
            let sink = Arc::clone(&job.sink);
            drop(job);
            sink.discard(1);
            return None;
        };
        let entry = entry
            .flags(squeue::Flags::FIXED_FILE)
            .user_data(*index as u64);
        // SAFETY: the buffers and the pieces of the job are valid while it is in `flights`.
        if unsafe { ring.submission().push(&entry) }.is_err() {
            job.sink.running().end(turn);
            return Some(job);
        }
        job.begin(job.started_ns);
        self.flights[*index] = Some(Flight {
            job,
            turn,
            length,
            _write: write,
        });
        self.free.pop();
        None
    }

    /// Take what has ended: completions are appended to `done`, and to `again` what the system did not do
    /// whole.
    pub(crate) fn reap(&mut self, done: &mut Vec<Used>, again: &mut Vec<Job>) {
        let Some(ring) = &mut self.ring else {
            return;
        };
        let mut free_ns = 0;
        for completion in ring.completion() {
            let index = usize::try_from(completion.user_data()).unwrap_or(usize::MAX);
            let Some(flight) = self.flights.get_mut(index).and_then(Option::take) else {
                continue; // Not reached: the system returns what it was given.
            };
            self.free.push(index);
            let Flight {
                job, turn, length, ..
            } = flight;
            job.sink.running().end(turn);
            if u32::try_from(completion.result()) == Ok(length) {
                done.push(job.succeed(&mut free_ns));
            } else {
                again.push(job);
            }
        }
    }

    /// Wait until at least one has ended, if there is one.
    ///
    /// # Errors
    /// As for [`Lane::submit`].
    pub(crate) fn wait(&mut self) -> io::Result<()> {
        self.enter(usize::from(self.in_flight() > 0))
    }

    /// How many are being executed.
    pub(crate) fn in_flight(&self) -> usize {
        self.flights.len() - self.free.len()
    }

    /// What is readable once one has ended; None if there is none.
    pub(crate) fn ended(&self) -> Option<BorrowedFd<'_>> {
        let ring = self.ring.as_ref().filter(|_| self.in_flight() > 0)?;
        // SAFETY: the ring keeps it open.
        Some(unsafe { BorrowedFd::borrow_raw(ring.as_raw_fd()) })
    }

    /// Offer the system all entries, and wait for `wanted` completions.
    fn enter(&mut self, wanted: usize) -> io::Result<()> {
        let Some(ring) = &mut self.ring else {
            return Ok(());
        };
        loop {
            match ring.submit_and_wait(wanted) {
                Ok(_) if ring.submission().is_empty() => return Ok(()),
                Ok(_) => {}
                Err(cause) => match cause.raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(libc::EAGAIN | libc::EBUSY | libc::ENOMEM) => thread::sleep(PAUSE),
                    _ => return Err(cause),
                },
            }
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if self.in_flight() > 0 {
            // Only after an error that does not pass, or a panic: the system may still write there.
            mem::forget(mem::take(&mut self.flights));
            mem::forget(self.ring.take());
        } else if let Some(ring) = self.ring.take() {
            self.home.put(self.queue, ring);
        }
    }
}

/// The entry for a job, the bytes that it moves, and what a write begins. None if it is not for a ring.
fn entry_of(job: &Job, look: &Look) -> Option<(squeue::Entry, u32, Option<WriteUnderWay>)> {
    if !job.is_plain() {
        return None;
    }
    let (request, image) = (&job.request, &job.disk.image);
    let (buffer, offset, is_write) = match request.operation {
        Operation::Read { offset } => (&request.writable, offset, false),
        Operation::Write { offset } => (&request.readable, offset, true),
        _ => return None,
    };
    let pieces = buffer.pieces();
    let is_taken = image.direct()?.takes(pieces, offset);
    if !is_taken || buffer.is_empty() || buffer.len() > LONGEST || pieces.len() > PIECES_MAX {
        return None;
    }
    let length = u32::try_from(buffer.len()).ok()?;
    let write = if is_write {
        Some(image.begin_write(offset + u64::from(length), look)?)
    } else {
        None
    };
    let entry = match (pieces, is_write) {
        ([one], false) => opcode::Read::new(IMAGE, one.iov_base.cast(), length)
            .offset(offset)
            .build(),
        ([one], true) => opcode::Write::new(IMAGE, one.iov_base.cast(), length)
            .offset(offset)
            .build(),
        (_, false) => {
            let count = u32::try_from(pieces.len()).ok()?;
            opcode::Readv::new(IMAGE, pieces.as_ptr(), count)
                .offset(offset)
                .build()
        }
        (_, true) => {
            let count = u32::try_from(pieces.len()).ok()?;
            opcode::Writev::new(IMAGE, pieces.as_ptr(), count)
                .offset(offset)
                .build()
        }
    };
    Some((entry, length, write))
}
