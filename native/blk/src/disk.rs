//! A disk: its image, the negotiated features, and the execution of one request.

mod pieces;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use virtmesh_device::{FaultKind, Hit};

use crate::failure::{Cause, Failed, Failures};
use crate::fault::{changes, torn_length};
use crate::image::Image;
use crate::parse::{RangeLimits, RequestLimits};
use crate::poll::PollLimit;
use crate::request::{Operation, Request, SECTOR_SIZE, Status};
use crate::spec::VIRTIO_BLK_ID_BYTES;
use crate::stats::Stats;
use crate::write_log::{Change, WriteLog};
use pieces::{Abandoned, in_pieces};

/// Most bytes that are moved, or zeroed, between two looks at whether a reset has abandoned the queue.
const PIECE: u64 = 4 << 20;
/// Most bytes that are zeroed between two such looks. Most file systems zero without writing.
const ZEROED_PIECE: u64 = 32 << 20;

/// What is left to do for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing. The status is for [`Request::complete`].
    Done(Status),
    /// To complete it as failed, or to try it again: the storage failed it, or a fault on demand did.
    Failed(Cause),
    /// A flush ([`Disk::flush`]). It needs neither the request nor guest memory.
    Flush,
}

/// Options that do not change while a disk is open.
#[derive(Debug, Clone)]
pub struct DiskOptions {
    /// The device ID string: at most 20 bytes of printable ASCII.
    pub serial: String,
    /// Most data segments of a request.
    pub seg_max: u32,
    /// Most bytes of a data segment.
    pub size_max: u32,
    /// Limits of a DISCARD.
    pub discard: RangeLimits,
    /// Limits of a `WRITE_ZEROES`.
    pub write_zeroes: RangeLimits,
    /// Hold a request that the storage failed, and try it again, where that may help.
    pub hold_failed: bool,
    /// How long the thread of a queue polls before it sleeps.
    pub poll: PollLimit,
}

/// A disk, shared by its queues and the engine.
#[derive(Debug)]
pub struct Disk {
    /// The image that holds the data.
    pub image: Image,
    /// Counters.
    pub stats: Stats,
    /// Why requests failed.
    pub failures: Arc<Failures>,
    pub(crate) options: DiskOptions,
    id: [u8; VIRTIO_BLK_ID_BYTES],
    features: AtomicU64,
    read_only: AtomicBool,
    write_back: AtomicBool,
    /// Records what changes the disk.
    log: Option<Arc<WriteLog>>,
}

impl Disk {
    /// Make a disk of an image. It is write-back, and read-only if the image is.
    ///
    /// None if the serial is not a valid device ID string.
    #[must_use]
    pub fn new(image: Image, options: DiskOptions) -> Option<Self> {
        let serial = options.serial.as_bytes();
        let printable = serial.iter().all(|byte| (b' '..=b'~').contains(byte));
        let mut id = [0; VIRTIO_BLK_ID_BYTES];
        id.get_mut(..serial.len())
            .filter(|_| printable)?
            .copy_from_slice(serial);
        let read_only = AtomicBool::new(image.is_read_only());
        Some(Self {
            image,
            stats: Stats::default(),
            failures: Arc::default(),
            options,
            id,
            features: AtomicU64::new(0),
            read_only,
            write_back: AtomicBool::new(true),
            log: None,
        })
    }

    /// Record what changes the disk.
    #[must_use]
    pub fn with_log(self, log: Option<Arc<WriteLog>>) -> Self {
        Self { log, ..self }
    }

    /// The log that records what changes the disk.
    #[must_use]
    pub fn log(&self) -> Option<&Arc<WriteLog>> {
        self.log.as_ref()
    }

    /// Take the time, in the log, of a request that is taken from its queue.
    pub(crate) fn note_submission(&self, request: &mut Request, fault: Option<&Hit>) {
        if let Some(log) = &self.log {
            request.submitted = match request.operation {
                Operation::Flush if !is_lost(fault) => log.flush(),
                _ => log.tick(),
            };
        }
    }

    /// True if a request that the storage failed is to be held and tried again.
    #[must_use]
    pub fn holds_failed(&self) -> bool {
        self.options.hold_failed
    }

    /// The limits that requests are validated against now.
    #[must_use]
    pub fn request_limits(&self) -> RequestLimits {
        RequestLimits {
            features: self.features.load(Ordering::SeqCst),
            capacity: self.image.capacity() / SECTOR_SIZE,
            read_only: self.read_only(),
            seg_max: self.options.seg_max,
            size_max: self.options.size_max,
            discard: self.options.discard,
            write_zeroes: self.options.write_zeroes,
        }
    }

    /// Buffers of the longest chain that a driver may make for a request: header, data, status.
    #[must_use]
    pub fn max_chain_buffers(&self) -> u16 {
        u16::try_from(self.options.seg_max)
            .unwrap_or(u16::MAX)
            .saturating_add(2)
    }

    /// Set the negotiated features.
    pub fn set_features(&self, features: u64) {
        self.features.store(features, Ordering::SeqCst);
    }

    /// True while writes are refused.
    #[must_use]
    pub fn read_only(&self) -> bool {
        self.read_only.load(Ordering::SeqCst)
    }

    /// Refuse or allow writes from the next request on. False if the image does not allow writes.
    #[must_use]
    pub fn set_read_only(&self, read_only: bool) -> bool {
        let allowed = read_only || !self.image.is_read_only();
        if allowed {
            self.read_only.store(read_only, Ordering::SeqCst);
        }
        allowed
    }

    /// True when writes are durable after a flush; false when each is durable as it completes.
    #[must_use]
    pub fn write_back(&self) -> bool {
        self.write_back.load(Ordering::SeqCst)
    }

    /// Choose between write-back and write-through.
    pub fn set_write_back(&self, write_back: bool) {
        self.write_back.store(write_back, Ordering::SeqCst);
    }

    /// Execute a request, up to a flush. It ends early, as failed, once `abandoned` is true. That a request
    /// was refused is kept; what the storage failed is for the caller to keep.
    ///
    /// Whether a write is followed by a flush is read before the write (virtio 1.4, 5.2.6.2, case 2 of "a
    /// write becomes stable").
    #[must_use]
    pub fn execute(&self, request: &Request, abandoned: &AtomicBool) -> Step {
        let write_back = self.write_back();
        if request.changes_the_disk()
            && let Some(log) = &self.log
            && let Err(error) = log.check()
        {
            return Step::Failed(Cause::of(&error));
        }
        let done = match &request.operation {
            Operation::Refuse(status) => {
                if *status == Status::IoErr {
                    self.failures.add(Failed::of(request), Cause::refused());
                }
                return Step::Done(*status);
            }
            Operation::Flush => return Step::Flush,
            Operation::Identify => {
                request.writable().fill(&self.id);
                Ok(())
            }
            Operation::Read { offset } => in_pieces(
                request.writable().len(),
                PIECE,
                abandoned,
                |start, length| match request.writable().part(start, length) {
                    None => self.image.read(&request.writable(), *offset),
                    Some(part) => self.image.read(&part, offset + start),
                },
            ),
            Operation::Write { offset } => {
                self.write(request, *offset, request.readable().len(), abandoned)
            }
            Operation::Discard(ranges) => ranges.iter().try_for_each(|range| {
                in_pieces(range.length, u64::MAX, abandoned, |_, _| {
                    let place = (range.offset, range.length);
                    self.recorded(request, Change::Discarded, place, || {
                        self.image.discard(range.offset, range.length)
                    })
                })
            }),
            Operation::WriteZeroes(ranges) => ranges.iter().try_for_each(|range| {
                in_pieces(range.length, ZEROED_PIECE, abandoned, |start, length| {
                    let offset = range.offset + start;
                    self.recorded(request, Change::Zeroed, (offset, length), || {
                        self.image.write_zeroes(offset, length, range.unmap)
                    })
                })
            }),
        };
        Step::after(request, done, write_back)
    }

    /// Keep that the execution of a request panicked. The status is for [`Request::complete`].
    #[must_use]
    pub fn give_up(&self, request: Failed) -> Status {
        self.failures.add(request, Cause::internal());
        Status::IoErr
    }

    /// Like [`Disk::execute`], with the fault that takes hold of the request, if one does.
    #[must_use]
    pub fn execute_with(
        &self,
        fault: Option<&Hit>,
        request: &Request,
        abandoned: &AtomicBool,
    ) -> Step {
        match (fault, &request.operation) {
            (Some(hit), _) if hit.kind == FaultKind::IoError => {
                Step::Failed(Cause::injected(hit.id))
            }
            (Some(hit), Operation::Write { offset }) if hit.kind == FaultKind::TornWrite => {
                let write_back = self.write_back();
                let length = torn_length(hit, request.bytes());
                let done = self.write(request, *offset, length, abandoned);
                Step::after(request, done, write_back)
            }
            (Some(hit), Operation::Write { offset }) if hit.kind == FaultKind::CorruptWrite => {
                let write_back = self.write_back();
                let length = request.bytes();
                let done = self
                    .write(request, *offset, length, abandoned)
                    .and_then(|()| self.change(request, *offset, &changes(hit, length)));
                Step::after(request, done, write_back)
            }
            _ => self.execute(request, abandoned),
        }
    }

    /// Write the first `length` bytes of a request.
    fn write(
        &self,
        request: &Request,
        offset: u64,
        length: u64,
        abandoned: &AtomicBool,
    ) -> io::Result<()> {
        // Of no more than the first piece: it holds for what is written at once.
        let look = request.look.as_ref().filter(|_| length <= PIECE);
        in_pieces(length, PIECE, abandoned, |start, length| {
            let place = (offset + start, length);
            self.recorded(request, Change::Written, place, || {
                match request.readable().part(start, length) {
                    None => self.image.write(&request.readable(), offset, look),
                    Some(part) => self.image.write(&part, offset + start, look),
                }
            })
        })
    }

    /// Turn bits over, as a fault on demand does: bytes behind an offset, and the bits of each.
    fn change(&self, request: &Request, offset: u64, changes: &[(u64, u8)]) -> io::Result<()> {
        changes.iter().try_for_each(|change| {
            self.recorded(request, Change::Written, (offset + change.0, 1), || {
                self.image.change(offset, &[*change])
            })
        })
    }

    /// Change a place, its offset and length in bytes, and record it if there is a log.
    fn recorded(
        &self,
        request: &Request,
        change: Change,
        (offset, length): (u64, u64),
        action: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let done = action();
        let Some(log) = &self.log else {
            return done;
        };
        let changed = |change| log.changed(&self.image, change, offset, length, request.submitted);
        match done {
            Ok(()) => changed(change),
            // Nothing was changed past the end of a truncated image.
            Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => Err(cause),
            Err(cause) => changed(Change::Failed).and(Err(cause)),
        }
    }

    /// Make completed writes durable, for a request. `submitted` is when a FLUSH was taken from its queue;
    /// None for the flush that follows a write. The status is for [`Request::complete`]. The cause of a
    /// failure is kept.
    #[must_use]
    pub fn flush(&self, request: Failed, submitted: Option<u64>) -> Status {
        match self.flush_recorded(submitted) {
            Ok(()) => Status::Ok,
            Err(error) => {
                self.failures.add(request, Cause::of(&error));
                Status::IoErr
            }
        }
    }
}

impl Disk {
    fn flush_recorded(&self, submitted: Option<u64>) -> io::Result<()> {
        let Some(log) = &self.log else {
            return self.image.flush();
        };
        let submitted = submitted.unwrap_or_else(|| log.flush());
        log.check()?;
        self.image.flush()?;
        log.flushed(submitted)
    }
}

impl Step {
    /// What is left to do for a request that was executed.
    fn after(request: &Request, done: io::Result<()>, write_back: bool) -> Self {
        match done {
            Ok(()) if request.changes_the_disk() && !write_back => Self::Flush,
            Ok(()) => Self::Done(Status::Ok),
            Err(error) => {
                let is_abandoned = error
                    .get_ref()
                    .is_some_and(<dyn std::error::Error + Send + Sync>::is::<Abandoned>);
                if is_abandoned {
                    Self::Done(Status::IoErr)
                } else {
                    Self::Failed(Cause::of(&error))
                }
            }
        }
    }
}

/// True for a fault on demand that makes a flush do nothing.
pub(crate) fn is_lost(fault: Option<&Hit>) -> bool {
    fault.is_some_and(|hit| hit.kind == FaultKind::LostFlush)
}
