//! The driver side of a virtqueue.
//!
//! What is published to the device is never read back. The free list and the chains in flight are
//! kept in a private copy that the device can't reach.

use crate::config::QueueConfig;
use crate::descriptor_chain::Segment;
use crate::error::{ConfigError, RingError};
use crate::format::{RingFormat, with_format};
use crate::indirect::IndirectTables;
use crate::layout::MAX_CHAIN_BYTES;
use crate::memory::{GuestRam, RingMemory};
use crate::shadow::{InFlightChain, Shadow};
use crate::{packed, split};

/// Adds chains, and pops used ones.
pub struct DriverQueue<M: RingMemory = GuestRam> {
    memory: M,
    ring: RingFormat<split::DriverRing<M>, packed::DriverRing<M>>,
    size: u16,
    tables: Option<IndirectTables<M::Area>>,
    shadow: Shadow,
    /// Entries published since the device's notification suppression was last read.
    added: u32,
    broken: Option<RingError>,
}

/// A used chain, as the device wrote it.
pub(crate) struct Used {
    /// Its entry in the ring.
    pub(crate) slot: u16,
    /// Its head, as the device wrote it.
    pub(crate) id: u32,
    /// Bytes the device says it wrote.
    pub(crate) written: u32,
}

impl<M: RingMemory> DriverQueue<M> {
    /// Clear the rings. Do this before the device is told of the queue. Interrupts are enabled.
    ///
    /// `indirect_area` is the guest address, aligned to 16, of `size * indirect_entries` descriptors
    /// for indirect tables; None for direct chains only.
    ///
    /// # Errors
    /// Those of [`QueueConfig::validate`], for the indirect area too; `IndirectNotNegotiated`;
    /// `NoIndirectEntries`.
    pub fn new(
        memory: M,
        config: QueueConfig,
        indirect_area: Option<u64>,
        indirect_entries: u16,
    ) -> Result<Self, ConfigError> {
        let areas = config.resolve(&memory)?;
        let tables = indirect_area
            .map(|address| IndirectTables::resolve(&memory, &config, address, indirect_entries))
            .transpose()?;
        let ring = if config.packed {
            RingFormat::Packed(packed::DriverRing::new(&areas, &config))
        } else {
            RingFormat::Split(split::DriverRing::new(&areas, &config))
        };
        Ok(Self {
            memory,
            ring,
            size: config.size,
            tables,
            shadow: Shadow::new(config.size),
            added: 0,
            broken: None,
        })
    }

    /// Descriptors that are free.
    #[must_use]
    pub fn free(&self) -> u16 {
        self.shadow.free()
    }

    /// Chains added and not popped.
    #[must_use]
    pub fn in_flight(&self) -> u16 {
        self.shadow.in_flight()
    }

    /// Add one chain and publish it. Returns its head, which is unique among the chains in flight; None
    /// if the ring is full.
    ///
    /// An indirect table is used if the chain fits into one and it saves descriptors.
    ///
    /// # Errors
    /// `EmptyChain`, `EmptySegment`, `ChainTooLong`, `ChainTooLarge`, `BufferOutsideMemory`: nothing
    /// was added, and the queue stays usable. A broken queue returns what broke it.
    pub fn add(
        &mut self,
        readable: &[Segment],
        writable: &[Segment],
    ) -> Result<Option<u16>, RingError> {
        let head = self.write_chain(readable, writable)?;
        if head.is_some() {
            with_format!(&mut self.ring, ring => ring.publish());
        }
        Ok(head)
    }

    /// Add chains (readable, writable) in order until the ring is full, and publish them all at once.
    /// Appends their heads to `heads` and returns their number.
    ///
    /// # Errors
    /// Those of [`add`](Self::add). The chains before the refused one were added, and are in `heads`.
    pub fn add_batch<'a>(
        &mut self,
        chains: impl IntoIterator<Item = (&'a [Segment], &'a [Segment])>,
        heads: &mut Vec<u16>,
    ) -> Result<usize, RingError> {
        let before = heads.len();
        let mut outcome = Ok(());
        for (readable, writable) in chains {
            match self.write_chain(readable, writable) {
                Ok(Some(head)) => heads.push(head),
                Ok(None) => break,
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        let added = heads.len() - before;
        if added > 0 {
            with_format!(&mut self.ring, ring => ring.publish());
        }
        outcome.map(|()| added)
    }

    /// True if the device wants a notification for the chains added since the last call (2.7.10.1,
    /// 2.8.21.2). Call it after adding.
    pub fn should_notify(&mut self) -> bool {
        let added = std::mem::take(&mut self.added);
        if added == 0 {
            return false;
        }
        // Race: the device enables notifications, sees no chain and sleeps, while we read its old
        // suppression and don't notify. With this fence between publishing and reading, and the device's in
        // `AvailConsumer::enable_notifications`, one of us sees the other.
        self.memory.full_fence();
        with_format!(&self.ring, ring => ring.needs_notification(added))
    }

    /// True if a used chain is waiting to be popped.
    #[must_use]
    pub fn can_pop(&self) -> bool {
        with_format!(&self.ring, ring => ring.has_used())
    }

    /// Pop the next used chain: its head, and the bytes the device wrote. None if there is none.
    ///
    /// # Errors
    /// The first violation by the device; every later call returns it again.
    pub fn pop_used(&mut self) -> Result<Option<(u16, u32)>, RingError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        self.take().inspect_err(|error| self.broken = Some(*error))
    }

    /// Pop up to `max` used chains and append them to `used`. Returns their number.
    ///
    /// # Errors
    /// Those of [`pop_used`](Self::pop_used). Chains before the bad entry are in `used`.
    pub fn pop_used_batch(
        &mut self,
        max: usize,
        used: &mut Vec<(u16, u32)>,
    ) -> Result<usize, RingError> {
        for taken in 0..max {
            match self.pop_used()? {
                Some(entry) => used.push(entry),
                None => return Ok(taken),
            }
        }
        Ok(max)
    }

    /// Enable the interrupt for the next used chain. True if a used chain waits already: then pop it,
    /// and don't wait for an interrupt, which may not come.
    ///
    /// With `VIRTIO_F_EVENT_IDX` this enables one interrupt; call it again before each wait.
    #[must_use]
    pub fn enable_interrupts(&mut self) -> bool {
        with_format!(&self.ring, ring => ring.enable_interrupts());
        // Race: the device uses a chain and, seeing the old suppression, doesn't interrupt, while we see
        // nothing used and sleep. With this fence between our store and the load below, and the
        // device's in `UsedProducer::needs_interrupt`, one of us sees the other.
        self.memory.full_fence();
        self.can_pop()
    }

    /// Disable interrupts while used chains are being popped anyway. This is a hint: some may still come.
    pub fn disable_interrupts(&mut self) {
        with_format!(&self.ring, ring => ring.disable_interrupts());
    }

    /// Write a chain into the rings, without publishing it.
    fn write_chain(
        &mut self,
        readable: &[Segment],
        writable: &[Segment],
    ) -> Result<Option<u16>, RingError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let (segments, writable_bytes) = self.check(readable, writable)?;
        let tables = self.tables.as_ref().filter(|tables| tables.fits(segments));
        let count = if tables.is_some() { 1 } else { segments };
        if count > self.shadow.free() {
            return Ok(None);
        }
        let head = self.shadow.head();
        // A packed chain takes one buffer ID, so its first and last ID are the same.
        let mut tail = head;
        match (&mut self.ring, tables) {
            (RingFormat::Split(ring), Some(tables)) => {
                let encode = split::DriverRing::<M>::table_entry;
                ring.write_indirect(head, tables.write(head, readable, writable, encode));
            }
            (RingFormat::Packed(ring), Some(tables)) => {
                let encode = packed::DriverRing::<M>::table_entry;
                ring.write_indirect(head, tables.write(head, readable, writable, encode));
            }
            (RingFormat::Split(ring), None) => {
                tail = ring.write_direct(&self.shadow, readable, writable);
            }
            (RingFormat::Packed(ring), None) => ring.write_direct(head, readable, writable),
        }
        self.shadow.allocate(InFlightChain {
            count,
            tail,
            writable: writable_bytes,
        });
        let entries = match &self.ring {
            RingFormat::Split(_) => 1,
            RingFormat::Packed(_) => count,
        };
        self.added = self.added.saturating_add(entries.into());
        Ok(Some(head))
    }

    /// Check a chain to be added. Returns the number of its buffers and of its device-writable bytes.
    fn check(&self, readable: &[Segment], writable: &[Segment]) -> Result<(u16, u64), RingError> {
        let (head, size) = (self.shadow.head(), self.size);
        let segments = u16::try_from(readable.len().saturating_add(writable.len()))
            .ok()
            .filter(|segments| *segments <= size)
            .ok_or(RingError::ChainTooLong { head, size })?;
        if segments == 0 {
            return Err(RingError::EmptyChain);
        }
        for &Segment {
            addr: address,
            len: length,
        } in readable.iter().chain(writable)
        {
            if length == 0 {
                return Err(RingError::EmptySegment { address });
            }
            if !self.memory.contains(address, length.into()) {
                return Err(RingError::BufferOutsideMemory {
                    head,
                    address,
                    length,
                });
            }
        }
        // No overflow: at most 32768 buffers below 2^32 each.
        let bytes = |segments: &[Segment]| segments.iter().map(|s| u64::from(s.len)).sum::<u64>();
        let writable_bytes = bytes(writable);
        if bytes(readable) + writable_bytes > MAX_CHAIN_BYTES {
            return Err(RingError::ChainTooLarge { head });
        }
        Ok((segments, writable_bytes))
    }

    fn take(&mut self) -> Result<Option<(u16, u32)>, RingError> {
        let used = match &mut self.ring {
            RingFormat::Split(ring) => ring.next_used(self.shadow.in_flight())?,
            RingFormat::Packed(ring) => ring.next_used(),
        };
        let Some(Used { slot, id, written }) = used else {
            return Ok(None);
        };
        let size = self.size;
        let head = u16::try_from(id)
            .ok()
            .filter(|head| *head < size)
            .ok_or(RingError::UsedIdOutOfRange { slot, id, size })?;
        let chain = self
            .shadow
            .get(head)
            .ok_or(RingError::UsedIdNotInFlight { slot, head })?;
        let writable = chain.writable;
        if u64::from(written) > writable {
            return Err(RingError::UsedLengthTooLarge {
                head,
                written,
                writable,
            });
        }
        match &mut self.ring {
            RingFormat::Split(ring) => ring.advance_used(),
            RingFormat::Packed(ring) => ring.advance_used(chain.count),
        }
        self.shadow.release(head, chain);
        Ok(Some((head, written)))
    }
}
