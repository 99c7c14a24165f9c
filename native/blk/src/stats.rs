//! Counters of a disk. Any thread may read them at any time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::request::{RequestType, Status};

/// Counters of one type of request, as they were at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestStats {
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

/// Bounds of the latency buckets: 1 us and 23 doublings, up to 8.4 s. Longer ones have a bucket of
/// their own.
pub const LATENCY_BOUNDS: usize = 24;
/// Smallest bound, in nanoseconds.
const FIRST_BOUND_NS: u64 = 1_000;

/// Requests by the time they took: bucket `i` has those up to `latency_bound(i)`, above the one before.
pub type Latencies = [u64; LATENCY_BOUNDS + 1];

/// The upper bound of a bucket; the last bucket has none.
#[must_use]
pub fn latency_bound(bucket: usize) -> Option<Duration> {
    // At most 1000 << 23.
    (bucket < LATENCY_BOUNDS).then(|| Duration::from_nanos(FIRST_BOUND_NS << bucket))
}

/// The bucket of a time in nanoseconds.
fn bucket_of(busy_ns: u64) -> usize {
    // The smallest i with busy_ns <= FIRST_BOUND_NS << i.
    let units = busy_ns.div_ceil(FIRST_BOUND_NS);
    let doublings = u64::BITS - units.saturating_sub(1).leading_zeros();
    (doublings as usize).min(LATENCY_BOUNDS)
}

#[derive(Debug, Default)]
struct TypeCounters {
    by_status: [AtomicU64; 3],
    bytes: AtomicU64,
    busy_ns: AtomicU64,
    latencies: [AtomicU64; LATENCY_BOUNDS + 1],
}

/// Counters of a disk since it was opened.
#[derive(Debug, Default)]
pub struct Stats {
    by_type: [TypeCounters; RequestType::ALL.len()],
    malformed: AtomicU64,
    notifications: AtomicU64,
    polls_won: AtomicU64,
    polls_lost: AtomicU64,
}

impl Stats {
    /// Count a completed request. `bytes` counts when it succeeded.
    pub fn count(&self, request_type: RequestType, status: Status, bytes: u64, busy: Duration) {
        let counters = &self.by_type[request_type as usize];
        counters.by_status[status as usize].fetch_add(1, Ordering::Relaxed);
        // 2^64 ns are 584 years.
        let busy_ns = u64::try_from(busy.as_nanos()).unwrap_or(u64::MAX);
        counters.busy_ns.fetch_add(busy_ns, Ordering::Relaxed);
        counters.latencies[bucket_of(busy_ns)].fetch_add(1, Ordering::Relaxed);
        if status == Status::Ok {
            counters.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Count a chain that is not a request.
    pub fn count_malformed(&self) {
        self.malformed.fetch_add(1, Ordering::Relaxed);
    }

    /// Count a notification by eventfd.
    pub fn count_notification(&self) {
        self.notifications.fetch_add(1, Ordering::Relaxed);
    }

    /// Count a poll of a ring before its thread sleeps, which found a chain or not.
    pub fn count_poll(&self, has_won: bool) {
        let counter = if has_won {
            &self.polls_won
        } else {
            &self.polls_lost
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counters of one type of request.
    #[must_use]
    pub fn of(&self, request_type: RequestType) -> RequestStats {
        let counters = &self.by_type[request_type as usize];
        let of_status =
            |status: Status| counters.by_status[status as usize].load(Ordering::Relaxed);
        RequestStats {
            ok: of_status(Status::Ok),
            io_errors: of_status(Status::IoErr),
            unsupported: of_status(Status::Unsupp),
            bytes: counters.bytes.load(Ordering::Relaxed),
            busy: Duration::from_nanos(counters.busy_ns.load(Ordering::Relaxed)),
        }
    }

    /// Requests of one type by the time from leaving the queue to completion.
    #[must_use]
    pub fn latencies(&self, request_type: RequestType) -> Latencies {
        let buckets = &self.by_type[request_type as usize].latencies;
        std::array::from_fn(|bucket| buckets[bucket].load(Ordering::Relaxed))
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

impl Stats {
    /// Polls of rings that found a chain, and those that did not.
    #[must_use]
    pub fn polls(&self) -> [u64; 2] {
        [&self.polls_won, &self.polls_lost].map(|counter| counter.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        for bucket in 0..LATENCY_BOUNDS {
            let bound = u64::try_from(latency_bound(bucket).unwrap().as_nanos()).unwrap();
            assert_eq!(bucket_of(bound), bucket);
            assert_eq!(bucket_of(bound + 1), bucket + 1);
        }
        assert_eq!((bucket_of(0), bucket_of(1)), (0, 0));
        assert_eq!(bucket_of(u64::MAX), LATENCY_BOUNDS);
        assert_eq!(latency_bound(LATENCY_BOUNDS), None);
    }

    #[test]
    fn every_request_is_in_one_bucket_of_its_type() {
        let stats = Stats::default();
        stats.count(RequestType::In, Status::Ok, 512, Duration::from_micros(3));
        stats.count(RequestType::In, Status::IoErr, 512, Duration::from_secs(60));
        let latencies = stats.latencies(RequestType::In);
        assert_eq!((latencies[2], latencies[LATENCY_BOUNDS]), (1, 1));
        assert_eq!(latencies.iter().sum::<u64>(), 2);
        assert_eq!(stats.latencies(RequestType::Out).iter().sum::<u64>(), 0);
    }
}
