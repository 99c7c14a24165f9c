//! Counters of a disk, read at any time from any thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::request::{Kind, Status};

/// Counters of one type of request, as they were at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KindStats {
    /// Completed with `VIRTIO_BLK_S_OK`.
    pub ok: u64,
    /// Completed with `VIRTIO_BLK_S_IOERR`.
    pub io_errors: u64,
    /// Completed with `VIRTIO_BLK_S_UNSUPP`.
    pub unsupported: u64,
    /// Bytes read, written, discarded or zeroed by the successful ones.
    pub bytes: u64,
    /// Time from leaving the queue to completion, summed over all.
    pub busy: Duration,
}

#[derive(Debug, Default)]
struct KindCounters {
    by_status: [AtomicU64; 3],
    bytes: AtomicU64,
    busy_ns: AtomicU64,
}

/// Counters of a disk since it was opened.
#[derive(Debug, Default)]
pub struct Stats {
    kinds: [KindCounters; Kind::ALL.len()],
    malformed: AtomicU64,
    notifications: AtomicU64,
}

impl Stats {
    /// Count a completed request. `bytes` counts when it succeeded.
    pub fn count(&self, kind: Kind, status: Status, bytes: u64, busy: Duration) {
        let counters = &self.kinds[kind as usize];
        counters.by_status[status as usize].fetch_add(1, Ordering::Relaxed);
        // 2^64 ns are 584 years.
        let busy_ns = u64::try_from(busy.as_nanos()).unwrap_or(u64::MAX);
        counters.busy_ns.fetch_add(busy_ns, Ordering::Relaxed);
        if status == Status::Ok {
            counters.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Count a chain that is no request.
    pub fn count_malformed(&self) {
        self.malformed.fetch_add(1, Ordering::Relaxed);
    }

    /// Count a notification by eventfd.
    pub fn count_notification(&self) {
        self.notifications.fetch_add(1, Ordering::Relaxed);
    }

    /// Counters of one type of request.
    #[must_use]
    pub fn of(&self, kind: Kind) -> KindStats {
        let counters = &self.kinds[kind as usize];
        let of_status =
            |status: Status| counters.by_status[status as usize].load(Ordering::Relaxed);
        KindStats {
            ok: of_status(Status::Ok),
            io_errors: of_status(Status::IoErr),
            unsupported: of_status(Status::Unsupp),
            bytes: counters.bytes.load(Ordering::Relaxed),
            busy: Duration::from_nanos(counters.busy_ns.load(Ordering::Relaxed)),
        }
    }

    /// Chains refused before execution.
    #[must_use]
    pub fn malformed(&self) -> u64 {
        self.malformed.load(Ordering::Relaxed)
    }

    /// Notifications received by eventfd from drivers.
    #[must_use]
    pub fn notifications(&self) -> u64 {
        self.notifications.load(Ordering::Relaxed)
    }
}
