//! Why requests failed. The status byte of a request (virtio 1.4, 5.2.6) says that it failed; the reason is
//! kept here, for the log, the metrics, and clients that ask.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::request::{Request, RequestType};
use crate::write_log::LogBroken;

/// Failures that are kept: the last ones.
const KEPT: usize = 256;

/// Errors of the system that are told apart.
const NAMED: [(i32, &str); 17] = [
    (libc::EIO, "EIO"),
    (libc::ENOSPC, "ENOSPC"),
    (libc::EDQUOT, "EDQUOT"),
    (libc::EFBIG, "EFBIG"),
    (libc::EROFS, "EROFS"),
    (libc::EPERM, "EPERM"),
    (libc::EACCES, "EACCES"),
    (libc::EBADF, "EBADF"),
    (libc::EINVAL, "EINVAL"),
    (libc::ENOMEM, "ENOMEM"),
    (libc::EFAULT, "EFAULT"),
    (libc::ENODEV, "ENODEV"),
    (libc::ENXIO, "ENXIO"),
    (libc::ESTALE, "ESTALE"),
    (libc::ENOTCONN, "ENOTCONN"),
    (libc::ETIMEDOUT, "ETIMEDOUT"),
    (libc::EBUSY, "EBUSY"),
];
/// Errors of the system that end when the storage is back: it has room again, or answers again.
const MENDING: [i32; 9] = [
    libc::EIO,
    libc::ENOSPC,
    libc::EDQUOT,
    libc::ENODEV,
    libc::ENXIO,
    libc::ESTALE,
    libc::ENOTCONN,
    libc::ETIMEDOUT,
    libc::EBUSY,
];
/// What is no error of the system, and the rest.
const TRUNCATED: usize = NAMED.len();
const WRITES_LOST: usize = TRUNCATED + 1;
const REFUSED: usize = TRUNCATED + 2;
const INTERNAL: usize = TRUNCATED + 3;
const OTHER: usize = TRUNCATED + 4;
const INJECTED: usize = TRUNCATED + 5;
const NOT_RECORDED: usize = TRUNCATED + 6;
const CAUSES: usize = NOT_RECORDED + 1;

/// An earlier flush failed.
#[derive(Debug, thiserror::Error)]
#[error("an earlier flush failed: writes were lost, check the storage and reopen the image")]
pub(crate) struct WritesLost;

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    index: usize,
    /// The number of the system's error; 0 if it was none.
    pub errno: i32,
    /// What happened, for people.
    pub text: String,
}

impl Cause {
    /// The cause of a failed operation on the image.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        let errno = error.raw_os_error().unwrap_or(0);
        let (index, text) = if errno != 0 {
            let named = NAMED.iter().position(|(number, _)| *number == errno);
            (named.unwrap_or(OTHER), error.to_string())
        } else if error.kind() == io::ErrorKind::UnexpectedEof {
            let text = "the image is shorter than the disk: someone cut it off";
            (TRUNCATED, text.to_owned())
        } else if error
            .get_ref()
            .is_some_and(<dyn std::error::Error + Send + Sync>::is::<WritesLost>)
        {
            (WRITES_LOST, error.to_string())
        } else if error
            .get_ref()
            .is_some_and(<dyn std::error::Error + Send + Sync>::is::<LogBroken>)
        {
            (NOT_RECORDED, error.to_string())
        } else {
            (OTHER, error.to_string())
        };
        Self { index, errno, text }
    }

    /// The cause of a request that the device did not execute.
    pub(crate) fn refused() -> Self {
        Self {
            index: REFUSED,
            errno: 0,
            text: "the disk refuses such a request: it is past the end, not of whole blocks, or a write \
                   to a read-only disk"
                .to_owned(),
        }
    }

    /// The cause of a request that a fault on demand took.
    pub(crate) fn injected(id: u32) -> Self {
        Self {
            index: INJECTED,
            errno: 0,
            text: format!(
                "fault {id} on demand took it: `virtmesh fault list` tells what was ordered"
            ),
        }
    }

    /// The cause of a request whose execution panicked.
    pub(crate) fn internal() -> Self {
        Self {
            index: INTERNAL,
            errno: 0,
            text: "internal error: executing the request panicked".to_owned(),
        }
    }

    /// True if the same request may succeed later, when the storage is back, or the fault on demand is not
    /// there any more. What a failed flush lost does not come back.
    #[must_use]
    pub fn may_mend(&self) -> bool {
        matches!(self.index, TRUNCATED | INJECTED) || MENDING.contains(&self.errno)
    }

    /// Name of the cause: that of the system's error, or another word of [`cause_names`].
    #[must_use]
    pub fn name(&self) -> &'static str {
        name(self.index)
    }
}

/// What is kept of a request that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed {
    request_type: RequestType,
    sector: u64,
    bytes: u64,
    status_address: u64,
}

impl Failed {
    /// What would be kept of a request.
    #[must_use]
    pub fn of(request: &Request) -> Self {
        Self {
            request_type: request.request_type,
            sector: request.sector(),
            bytes: request.bytes(),
            status_address: request.status_address,
        }
    }
}

/// A request that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Counts failures, from 1.
    pub number: u64,
    /// Type of the request.
    pub request_type: RequestType,
    /// Its first sector.
    pub sector: u64,
    /// Bytes that it was to move.
    pub bytes: u64,
    /// Guest physical address of its status byte. While the request is in flight, no other has it.
    pub status_address: u64,
    /// Why it failed.
    pub cause: Cause,
}

/// The last failures of a disk, and how many there were. Any thread may use it.
#[derive(Debug)]
pub struct Failures {
    last: Mutex<Last>,
    added: Condvar,
    counts: [[AtomicU64; CAUSES]; RequestType::ALL.len()],
}

#[derive(Debug, Default)]
struct Last {
    kept: VecDeque<Failure>,
    number: u64,
    closed: bool,
}

impl Default for Failures {
    fn default() -> Self {
        let zeroes = || std::array::from_fn(|_| AtomicU64::new(0));
        Self {
            last: Mutex::default(),
            added: Condvar::new(),
            counts: std::array::from_fn(|_| zeroes()),
        }
    }
}

impl Failures {
    /// Keep a failure. It is called before the request completes, so whoever sees the status finds it.
    pub(crate) fn add(&self, request: Failed, cause: Cause) {
        let counts = &self.counts[request.request_type as usize];
        counts[cause.index].fetch_add(1, Ordering::Relaxed);
        let is_refused = cause.index == REFUSED;
        let mut last = self.lock();
        last.number += 1;
        if last.kept.len() == KEPT {
            last.kept.pop_front();
        }
        let failure = Failure {
            number: last.number,
            request_type: request.request_type,
            sector: request.sector,
            bytes: request.bytes,
            status_address: request.status_address,
            cause,
        };
        last.kept.push_back(failure);
        drop(last);
        // What the driver did wrong wakes nobody: it can do that without end.
        if !is_refused {
            self.added.notify_all();
        }
    }

    /// The failures that are kept, oldest first, from number `after + 1` on.
    #[must_use]
    pub fn since(&self, after: u64) -> Vec<Failure> {
        let last = self.lock();
        let newer = last.kept.iter().filter(|one| one.number > after);
        newer.cloned().collect()
    }

    /// Wait for failures of the storage after number `after`, at most for a time or until closed.
    #[must_use]
    pub fn wait(&self, after: u64, patience: Duration) -> Vec<Failure> {
        let end = Instant::now() + patience;
        let mut last = self.lock();
        loop {
            let found = last
                .kept
                .iter()
                .filter(|one| one.number > after && one.cause.index != REFUSED)
                .cloned()
                .collect::<Vec<_>>();
            let left = end.saturating_duration_since(Instant::now());
            if !found.is_empty() || last.closed || left.is_zero() {
                return found;
            }
            let woken = self.added.wait_timeout(last, left);
            last = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Let nobody wait any more.
    pub fn close(&self) {
        self.lock().closed = true;
        self.added.notify_all();
    }

    /// How often requests of a type failed of each cause: name and number, without those at 0.
    #[must_use]
    pub fn counts(&self, request_type: RequestType) -> Vec<(&'static str, u64)> {
        let counts = self.counts[request_type as usize].iter().enumerate();
        counts
            .map(|(index, count)| (name(index), count.load(Ordering::Relaxed)))
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Last> {
        // Nothing panics while it is held.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The names that causes can have.
#[must_use]
pub fn cause_names() -> Vec<&'static str> {
    (0..CAUSES).map(name).collect()
}

fn name(index: usize) -> &'static str {
    match index {
        TRUNCATED => "TRUNCATED",
        WRITES_LOST => "WRITES_LOST",
        REFUSED => "REFUSED",
        INTERNAL => "INTERNAL",
        OTHER => "OTHER",
        INJECTED => "INJECTED",
        NOT_RECORDED => "NOT_RECORDED",
        _ => NAMED[index].1,
    }
}
