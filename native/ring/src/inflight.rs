//! The in-flight log of a queue: which chains the device popped and did not push, in memory that
//! outlives the process (vhost-user, "Inflight I/O tracking"; its names and layout are used here).
//!
//! A device side that starts with a log in use first resubmits the chains that the log has in flight, in
//! their old order, and then continues after them. No chain is lost, and none is pushed twice. A chain
//! may be *executed* twice, if its device side was killed between execution and push.
//!
//! # How it survives a kill at any instruction
//!
//! A killed process leaves a prefix of its stores, in program order. So only the order of the stores
//! matters. Every store to the log, and the store that publishes used chains, is a release: neither
//! compiler nor processor moves an earlier store behind it.
//!
//! Invariant: the log and the used ring are only changed together, under the lock of the log. Otherwise
//! the consumer could mark a head in flight that the driver made available again, while the producer, on
//! another thread, is about to clear the entry of its previous use.
//!
//! # Threats
//!
//! The front end maps the log too. The log is written from private copies. It is read once, at start,
//! and every index and count is checked; invalid content is refused ([`ConfigError::BadLog`]).
//!
//! Numbers are little-endian here and of native byte order in the specification, which is the same on
//! every supported host.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::{AreaSpec, QueueConfig};
use crate::error::ConfigError;
use crate::layout::inflight::{INFLIGHT, VERSION_OFFSET, packed_entry, region_len, split_entry};
use crate::memory::{GuestRam, RingArea, RingMemory};

mod packed;
mod split;

pub(crate) use packed::{LoggedChain, PackedDescriptor, PackedLog};
pub(crate) use split::SplitLog;

/// The location of the log of one queue (a "queue region"), in guest memory or in other memory.
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
    /// True if a device side uses the log, or used it until it ended.
    ///
    /// # Errors
    /// `Misaligned`, `OutsideMemory`.
    pub fn in_use(&self) -> Result<bool, ConfigError> {
        let header = self.part(VERSION_OFFSET as u64 + 2).resolve(&self.memory)?;
        Ok(header.load(VERSION_OFFSET, Ordering::Acquire) != 0)
    }

    /// How many chains the log has in flight: 0 if it is not in use. The last batch that was used may
    /// be among them, if its device side ended before it noted that.
    ///
    /// # Errors
    /// `Misaligned`, `OutsideMemory`.
    pub fn in_flight(&self, packed: bool) -> Result<usize, ConfigError> {
        if !self.in_use()? {
            return Ok(0);
        }
        let part = self.part(region_len(packed, self.capacity));
        let log = part.resolve(&self.memory)?;
        let entry = if packed { packed_entry } else { split_entry };
        let noted = |index: &u16| log.load(entry(*index) + INFLIGHT, Ordering::Acquire) & 0xFF != 0;
        Ok((0..self.capacity).filter(noted).count())
    }

    /// Mark the log unused: the next device side starts from the base that it is given.
    ///
    /// # Errors
    /// `Misaligned`, `OutsideMemory`.
    pub fn forget(&self) -> Result<(), ConfigError> {
        // Version 0 means that the log is not in use.
        self.part(VERSION_OFFSET as u64 + 2)
            .resolve(&self.memory)?
            .store(VERSION_OFFSET, 0, Ordering::Release);
        Ok(())
    }

    /// Resolve the memory of the log.
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

/// A log that both halves of a device queue share.
pub(crate) struct SharedLog<L>(Arc<Mutex<L>>);

impl<L> SharedLog<L> {
    pub(crate) fn new(log: L) -> Self {
        Self(Arc::new(Mutex::new(log)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, L> {
        // A panic while it is held ends the queue.
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
