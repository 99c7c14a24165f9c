//! The in-flight log of a queue: which chains the device took and did not give back, written where it
//! outlives the process (vhost-user, "Inflight I/O tracking", whose names and layout are kept).
//!
//! A device side that begins with a log in use first takes again, in their old order, the chains that
//! the log has in flight, and then goes on behind them: nothing is lost, and no chain is given back
//! twice. A chain may be *executed* twice, when its device side ended between the two.
//!
//! # How it survives a kill at any instruction
//!
//! A killed process leaves its stores as far as it came, in the order of its instructions. So the order
//! of stores is all that counts, and every store to the log, and the one that publishes used chains, is
//! a release: neither compiler nor processor moves an earlier store behind it.
//!
//! Invariant: the log and the used ring are only changed together, under the lock of the log. The
//! consumer, which takes a chain, would otherwise mark a head as in flight that the driver offered anew
//! while the producer, on another thread, is about to cross out its last use.
//!
//! # Threats
//!
//! The front end maps the log too. It is written from private copies and read only at the beginning,
//! once, with every index and count checked; what can't be is refused ([`ConfigError::BadLog`]).
//!
//! Numbers are little-endian here, in the specification they are of native byte order: the same on
//! every host this runs on.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::{AreaSpec, QueueConfig};
use crate::error::ConfigError;
use crate::layout::inflight::{VERSION_OFFSET, region_len};
use crate::memory::{GuestRam, RingArea, RingMemory};

mod packed;
mod split;

pub(crate) use packed::{LoggedChain, PackedDescriptor, PackedLog};
pub(crate) use split::SplitLog;

/// Where the log of one queue is: a queue region, in memory that need not be the guest's.
#[derive(Debug, Clone)]
pub struct LogRegion<M: RingMemory = GuestRam> {
    /// The memory it is in.
    pub memory: M,
    /// Its address there, a multiple of 8.
    pub address: u64,
    /// Descriptors it has room for (`desc_num`): at least the queue size.
    pub capacity: u16,
}

impl<M: RingMemory> LogRegion<M> {
    /// Forget what is in flight: the next device side begins from the base it is given.
    ///
    /// # Errors
    /// `Misaligned`, `OutsideMemory`.
    pub fn forget(&self) -> Result<(), ConfigError> {
        // Version 0 is a log not in use.
        self.part(VERSION_OFFSET as u64 + 2)
            .resolve(&self.memory)?
            .store(VERSION_OFFSET, 0, Ordering::Release);
        Ok(())
    }

    /// Find the log of a queue.
    pub(crate) fn resolve(&self, config: &QueueConfig) -> Result<M::Area, ConfigError> {
        let (size, capacity) = (config.size, self.capacity);
        if size > capacity {
            return Err(ConfigError::LogTooSmall { size, capacity });
        }
        self.part(region_len(config.packed, capacity))
            .resolve(&self.memory)
    }

    fn part(&self, length: u64) -> AreaSpec {
        AreaSpec {
            name: "in-flight log",
            address: self.address,
            length,
            alignment: 8,
        }
    }
}

/// A log that both halves of a device queue have.
pub(crate) struct SharedLog<L>(Arc<Mutex<L>>);

impl<L> SharedLog<L> {
    pub(crate) fn new(log: L) -> Self {
        Self(Arc::new(Mutex::new(log)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, L> {
        // What panics while it is held ends the queue.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L> Clone for SharedLog<L> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

fn refuse<T>(reason: &'static str) -> Result<T, ConfigError> {
    Err(ConfigError::BadLog { reason })
}
