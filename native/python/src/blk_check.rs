//! What a disk is made of: checks, and limits put together.

use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use virtmesh_blk::{EngineChoice, PollLimit, RangeLimits};

/// Block sizes that drivers know what to do with: powers of two, in bytes.
const BLOCK_SIZES: std::ops::RangeInclusive<u32> = 512..=65536;
/// Threads of one engine.
const THREADS: std::ops::RangeInclusive<usize> = 1..=64;

/// Check what no type says.
pub fn check(block_size: u32, threads: usize) -> PyResult<()> {
    if !BLOCK_SIZES.contains(&block_size) || !block_size.is_power_of_two() {
        let message = format!("block size {block_size}: give a power of two, 512 to 65536");
        return Err(PyValueError::new_err(message));
    }
    if !THREADS.contains(&threads) {
        let message = format!("{threads} threads: give 1 to 64");
        return Err(PyValueError::new_err(message));
    }
    Ok(())
}

/// Limits of a request with ranges.
pub const fn range_limits(max_sectors: u32, max_seg: u32) -> RangeLimits {
    RangeLimits {
        max_sectors,
        max_seg,
    }
}

/// How long the thread of a queue polls, in microseconds.
pub fn poll_limit(time_us: u32, on_one_processor: bool) -> PollLimit {
    PollLimit {
        time: Duration::from_micros(time_us.into()),
        on_one_processor,
    }
}

/// The engine of this name.
pub fn engine_choice(name: &str) -> PyResult<EngineChoice> {
    EngineChoice::of_name(name).ok_or_else(|| {
        let names = EngineChoice::NAMED.map(|(name, _)| name).join(", ");
        PyValueError::new_err(format!("there is no engine {name:?}: give one of {names}"))
    })
}
