//! Builds a checked chain from the descriptors that a driver wrote (virtio 1.4, 2.7.5 and 2.8.5).
//!
//! Each descriptor is copied out once, and the copy is checked. Every descriptor counts against the queue
//! size, which bounds the length of a chain (2.7.5.3.1, 2.8.17), so a chain that loops ends with an error.
//! The descriptor that refers to an indirect table is not a buffer and does not count; a chain has at
//! most one.
//!
//! A device may allow more buffers in an indirect table ([`ChainLimits::indirect_buffers`]). 2.7.5.3.1
//! forbids chains longer than the queue size there too, but Linux uses the limits of the device instead:
//! with a block device's `seg_max` it makes chains of `seg_max` + 2 buffers on a ring of any size.

use crate::config::QueueConfig;
use crate::descriptor_chain::{Chain, Segment};
use crate::error::RingError;
use crate::layout::{DESC_SIZE, MAX_CHAIN_BYTES, MAX_QUEUE_SIZE};
use crate::memory::RingMemory;

/// How long a chain may be.
#[derive(Clone, Copy)]
pub(crate) struct ChainLimits {
    /// The queue size.
    pub(crate) size: u16,
    /// `VIRTIO_F_INDIRECT_DESC` was negotiated.
    pub(crate) indirect: bool,
    /// Buffers of a chain in an indirect table, at most 32768.
    pub(crate) indirect_buffers: u16,
}

impl ChainLimits {
    pub(crate) fn from_config(config: &QueueConfig) -> Self {
        Self {
            size: config.size,
            indirect: config.indirect,
            indirect_buffers: config.size,
        }
    }

    /// Allow `buffers` in an indirect table if that is more than the queue size.
    pub(crate) fn allow_indirect_buffers(&mut self, buffers: u16) {
        self.indirect_buffers = buffers.clamp(self.size, MAX_QUEUE_SIZE);
    }
}

/// A chain under construction, where it is going to be: it is as large as two cache lines and more.
pub(crate) struct ChainBuilder<'a, M> {
    memory: &'a M,
    /// The first descriptor, by which errors name the chain.
    head: u16,
    chain: &'a mut Chain,
    /// Most descriptors of the chain, in the table that is being read.
    max_buffers: u16,
    limits: ChainLimits,
    /// Descriptors seen.
    count: u16,
    /// Bytes seen. No overflow: at most 32768 buffers below 2^32 each.
    bytes: u64,
    /// A device-writable descriptor was seen.
    in_writable: bool,
}

/// An indirect table whose bounds were checked.
pub(crate) struct IndirectTable {
    /// Descriptors in it, not 0.
    pub(crate) entries: u32,
    /// The error if an entry cannot be read.
    outside: RingError,
}

impl<'a, M: RingMemory> ChainBuilder<'a, M> {
    /// Begin with `chain`, which is empty.
    pub(crate) fn new(memory: &'a M, limits: ChainLimits, head: u16, chain: &'a mut Chain) -> Self {
        Self {
            memory,
            head,
            chain,
            max_buffers: limits.size,
            limits,
            count: 0,
            bytes: 0,
            in_writable: false,
        }
    }

    /// Check a buffer and add it to the chain.
    ///
    /// A buffer of length 0 is left out and its address is not checked: no rule forbids one, and 2.7.4.1
    /// forbids assumptions about the arrangement. It still counts as a descriptor and for the order.
    pub(crate) fn add(
        &mut self,
        index: u16,
        address: u64,
        length: u32,
        writable: bool,
    ) -> Result<(), RingError> {
        let (head, size) = (self.head, self.max_buffers);
        if self.count == size {
            return Err(RingError::ChainTooLong { head, size });
        }
        self.count += 1;
        if self.in_writable && !writable {
            return Err(RingError::ReadableAfterWritable { head, index });
        }
        self.in_writable = writable;
        if length == 0 {
            return Ok(());
        }
        self.bytes += u64::from(length);
        if self.bytes > MAX_CHAIN_BYTES {
            return Err(RingError::ChainTooLarge { head });
        }
        if !self.memory.contains(address, length.into()) {
            return Err(RingError::BufferOutsideMemory {
                head,
                address,
                length,
            });
        }
        let buffers = if writable {
            &mut self.chain.writable
        } else {
            &mut self.chain.readable
        };
        buffers.push(Segment {
            addr: address,
            len: length,
        });
        Ok(())
    }

    /// Check the bounds of an indirect table and continue the chain in it (2.7.5.3, 2.8.7).
    pub(crate) fn enter_table(
        &mut self,
        address: u64,
        length: u32,
    ) -> Result<IndirectTable, RingError> {
        let head = self.head;
        let entries = length / DESC_SIZE;
        if entries == 0 || !length.is_multiple_of(DESC_SIZE) {
            return Err(RingError::IndirectBadLength { head, length });
        }
        let outside = RingError::IndirectOutsideMemory {
            head,
            address,
            length,
        };
        if !self.memory.contains(address, length.into()) {
            return Err(outside);
        }
        self.max_buffers = self.limits.indirect_buffers;
        Ok(IndirectTable { entries, outside })
    }

    /// Copy a table entry out of shared memory.
    pub(crate) fn read(&self, address: u64, table: &IndirectTable) -> Result<[u64; 2], RingError> {
        self.memory.read_descriptor(address).ok_or(table.outside)
    }

    /// End the chain with the head that identifies it in the used ring.
    pub(crate) fn finish(self, head: u16) {
        self.chain.head = head;
    }
}
