//! The requests of one queue that are in its `io_uring`, as the thread that serves the queue sees them.
//!
//! Invariant: a request is in `entries` from before the system may read its entry until its completion was
//! taken. Its job keeps guest memory mapped, so this is dropped only when it has none; if the system takes
//! entries no more, what it may still be executing is left behind for good.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use io_uring::{IoUring, opcode, squeue, types};
use virtmesh_device::{EventFd, Kick};

use super::Rings;
use crate::buffer::Buffer;
use crate::image::Look;
use crate::job::Job;
use crate::request::{Operation, Request, Used};
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

const READABLE: u32 = libc::POLLIN as u32;
/// What a wait listens for beside requests: that the queue's thread is woken, and that the driver notifies.
const LISTENERS: [u64; 2] = [u64::MAX - 1, u64::MAX];
/// Names the end of such a wait.
const REMOVED: u64 = u64::MAX - 2;

/// What ended a wait.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Heard {
    /// The thread was woken.
    pub woken: bool,
    /// The driver has notified.
    pub kicked: bool,
    /// A request has ended.
    pub ended: bool,
}

/// A ring, and the requests that are in it.
pub struct Flights {
    /// Here until this is dropped.
    ring: Option<IoUring>,
    queue: usize,
    home: Arc<Rings>,
    entries: Vec<Option<Flight>>,
    /// Indexes of `entries` that are free.
    free: Vec<usize>,
    /// Jobs that are left to others; used again.
    rest: Vec<Job>,
    /// Which of [`LISTENERS`] are in the ring.
    listening: [bool; 2],
    heard: Heard,
}

struct Flight {
    job: Job,
    turn: Turn,
    transfer: Transfer,
}

/// What a job moves.
struct Transfer {
    offset: u64,
    length: u32,
    /// What a write begins; None for a read.
    write: Option<WriteUnderWay>,
}

impl Flights {
    pub(super) fn new(ring: IoUring, queue: usize, home: Arc<Rings>) -> Self {
        let count = ring.params().sq_entries() as usize;
        Self {
            ring: Some(ring),
            queue,
            home,
            entries: (0..count).map(|_| None).collect(),
            free: (0..count).rev().collect(),
            rest: Vec::new(),
            listening: [false; 2],
            heard: Heard::default(),
        }
    }

    /// Put those jobs into the ring that are for one. The others stay. The system is told by the next
    /// [`Flights::tell`] or wait.
    pub(crate) fn add(&mut self, jobs: &mut Vec<Job>) {
        let look = Look::default();
        let mut rest = mem::take(&mut self.rest);
        rest.extend(jobs.drain(..).filter_map(|job| self.begin(job, &look)));
        self.rest = mem::replace(jobs, rest);
    }

    /// Tell the system of what was put into the ring.
    ///
    /// # Errors
    /// When the system takes no entries, for a reason that does not pass.
    pub(crate) fn tell(&mut self) -> io::Result<()> {
        let Some(ring) = &mut self.ring else {
            return Ok(());
        };
        if ring.submission().is_empty() {
            return Ok(());
        }
        self.enter(0)
    }

    /// Begin a job. Returns it if it is left to others.
    fn begin(&mut self, mut job: Job, look: &Look) -> Option<Job> {
        let (Some(ring), Some(index)) = (&mut self.ring, self.free.last()) else {
            return Some(job);
        };
        let Some(transfer) = transfer_of(&job, look) else {
            return Some(job);
        };
        let Some(turn) = job.sink.running().begin(&job.request) else {
            let sink = Arc::clone(&job.sink);
            drop(job);
            sink.discard(1);
            return None;
        };
        job.begin(job.started_ns);
        // The pieces may lie within the job, so the entry is made where the job stays.
        let flight = self.entries[*index].insert(Flight {
            job,
            turn,
            transfer,
        });
        let entry = flight
            .entry()
            .flags(squeue::Flags::FIXED_FILE)
            .user_data(*index as u64);
        // SAFETY: the buffers and the pieces of the job are valid while it is in `entries`, which never grows.
        if unsafe { ring.submission().push(&entry) }.is_err() {
            let Flight { job, turn, .. } = self.entries[*index].take()?;
            job.sink.running().end(turn);
            return Some(job);
        }
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
            let name = completion.user_data();
            if let Some(place) = LISTENERS.iter().position(|one| *one == name) {
                self.listening[place] = false;
                self.heard.woken |= place == 0;
                self.heard.kicked |= place == 1;
                continue;
            }
            let index = usize::try_from(name).unwrap_or(usize::MAX);
            let Some(flight) = self.entries.get_mut(index).and_then(Option::take) else {
                continue; // The end of a listener.
            };
            self.heard.ended = true;
            self.free.push(index);
            let Flight {
                job,
                turn,
                transfer,
            } = flight;
            job.sink.running().end(turn);
            if u32::try_from(completion.result()) == Ok(transfer.length) {
                done.push(job.succeed(&mut free_ns));
            } else {
                again.push(job);
            }
        }
    }

    /// Wait until one of those in flight has ended, or something else is to be reaped.
    ///
    /// # Errors
    /// As for [`Flights::tell`].
    pub(crate) fn wait(&mut self) -> io::Result<()> {
        self.enter(1)
    }

    /// Wait until one has ended, or one of these is readable. What it was, [`Flights::heard`] tells after the
    /// next [`Flights::reap`].
    ///
    /// # Errors
    /// As for [`Flights::tell`].
    pub(crate) fn listen(&mut self, wake: &EventFd, kick: Option<&Kick>) -> io::Result<()> {
        let descriptors = [Some(wake.as_fd()), kick.map(AsFd::as_fd)];
        for (place, descriptor) in descriptors.into_iter().enumerate() {
            let Some(descriptor) = descriptor.filter(|_| !self.listening[place]) else {
                continue;
            };
            let descriptor = types::Fd(descriptor.as_raw_fd());
            self.push(
                &opcode::PollAdd::new(descriptor, READABLE)
                    .build()
                    .user_data(LISTENERS[place]),
            )?;
            self.listening[place] = true;
        }
        self.enter(1)
    }

    /// What was heard since this was asked last.
    pub(crate) fn heard(&mut self) -> Heard {
        mem::take(&mut self.heard)
    }

    /// Listen no more: the ring is for another thread then. Nothing is in flight.
    ///
    /// # Errors
    /// As for [`Flights::tell`].
    pub(crate) fn end(&mut self) -> io::Result<()> {
        for (place, name) in LISTENERS.into_iter().enumerate() {
            if self.listening[place] {
                self.push(&opcode::PollRemove::new(name).build().user_data(REMOVED))?;
            }
        }
        while self.listening.contains(&true) {
            self.enter(1)?;
            self.reap(&mut Vec::new(), &mut Vec::new());
        }
        Ok(())
    }

    /// Put an entry that has no pointers into the ring.
    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        loop {
            let Some(ring) = &mut self.ring else {
                return Ok(());
            };
            // SAFETY: the system keeps the file of the descriptor by itself.
            if unsafe { ring.submission().push(entry) }.is_ok() {
                return Ok(());
            }
            self.enter(0)?;
        }
    }

    /// How many are being executed.
    pub(crate) fn in_flight(&self) -> usize {
        self.entries.len() - self.free.len()
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

impl Drop for Flights {
    fn drop(&mut self) {
        if self.in_flight() > 0 || self.listening.contains(&true) {
            // Only after an error that does not pass, or a panic: the system may still write there.
            mem::forget(mem::take(&mut self.entries));
            mem::forget(self.ring.take());
        } else if let Some(ring) = self.ring.take() {
            self.home.put(self.queue, ring);
        }
    }
}

impl Flight {
    /// Its entry, which has pointers into it.
    fn entry(&self) -> squeue::Entry {
        let Transfer { offset, length, .. } = self.transfer;
        let (request, is_write) = (&self.job.request, self.transfer.write.is_some());
        let buffer = data_of(request, is_write);
        let pieces = buffer.pieces();
        // No more than PIECES_MAX.
        let count = u32::try_from(pieces.len()).unwrap_or(0);
        match (pieces, is_write) {
            ([one], false) => opcode::Read::new(IMAGE, one.iov_base.cast(), length)
                .offset(offset)
                .build(),
            ([one], true) => opcode::Write::new(IMAGE, one.iov_base.cast(), length)
                .offset(offset)
                .build(),
            (_, false) => opcode::Readv::new(IMAGE, pieces.as_ptr(), count)
                .offset(offset)
                .build(),
            (_, true) => opcode::Writev::new(IMAGE, pieces.as_ptr(), count)
                .offset(offset)
                .build(),
        }
    }
}

/// What a job moves. None if it is not for a ring.
fn transfer_of(job: &Job, look: &Look) -> Option<Transfer> {
    if !job.is_plain() {
        return None;
    }
    let (offset, is_write) = match job.request.operation {
        Operation::Read { offset } => (offset, false),
        Operation::Write { offset } => (offset, true),
        _ => return None,
    };
    let (image, buffer) = (&job.disk.image, data_of(&job.request, is_write));
    let (pieces, length) = (buffer.pieces(), buffer.len());
    let is_taken = image.direct()?.takes(pieces, offset);
    if !is_taken || buffer.is_empty() || length > LONGEST || pieces.len() > PIECES_MAX {
        return None;
    }
    let write = if is_write {
        Some(image.begin_write(offset + length, look)?)
    } else {
        None
    };
    let length = u32::try_from(length).ok()?;
    Some(Transfer {
        offset,
        length,
        write,
    })
}

/// The data of a read or a write.
fn data_of(request: &Request, is_write: bool) -> Buffer<'_> {
    if is_write {
        request.readable()
    } else {
        request.writable()
    }
}
