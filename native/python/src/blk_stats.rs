//! What a disk counts, and what it executes now, as Python takes it.

use std::collections::BTreeMap;
use std::time::Duration;

use virtmesh_blk::{RequestType, RunningRequest, Stats};
use virtmesh_device::now;

/// Counters of one type of request: ok, I/O errors, unsupported, bytes, busy microseconds.
pub type Counters = (u64, u64, u64, u64, u64);

/// The counters by type.
pub fn counters(stats: &Stats) -> BTreeMap<&'static str, Counters> {
    let counters = RequestType::ALL.map(|request_type| {
        let stats = stats.of(request_type);
        let busy_us = u64::try_from(stats.busy.as_micros()).unwrap_or(u64::MAX);
        (
            request_type.name(),
            (
                stats.ok,
                stats.io_errors,
                stats.unsupported,
                stats.bytes,
                busy_us,
            ),
        )
    });
    counters.into()
}

/// The counts of latencies by type.
pub fn latencies(stats: &Stats) -> BTreeMap<&'static str, Vec<u64>> {
    RequestType::ALL
        .map(|request_type| (request_type.name(), stats.latencies(request_type).to_vec()))
        .into()
}

/// Type, first sector and age in seconds of a request, and why it is held; empty if it is not.
pub fn describe(request: RunningRequest) -> (&'static str, u64, f64, &'static str) {
    let age = Duration::from_nanos(now().saturating_sub(request.since_ns));
    let held = request.held.unwrap_or("");
    (
        request.request_type.name(),
        request.sector,
        age.as_secs_f64(),
        held,
    )
}
