//! Following a descriptor chain that a driver wrote (virtio 1.4, 2.7.5).
//!
//! Each descriptor is copied out once and judged by the copy. The walk ends: every descriptor counts
//! against the queue size, which bounds the length of a chain (2.7.5.3.1) and so catches loops. The
//! descriptor that refers to an indirect table is no buffer and does not count; there can be only one.

use crate::chain::{Chain, Segment, Segments};
use crate::error::RingError;
use crate::layout::{
    DESC_SIZE, Descriptor, MAX_CHAIN_BYTES, QueueConfig, VIRTQ_DESC_F_INDIRECT, VIRTQ_DESC_F_NEXT,
    VIRTQ_DESC_F_WRITE, desc_offset,
};
use crate::memory::{RingArea, RingMemory};

/// Copy the chain at `head` (below the queue size) out of shared memory.
pub(super) fn read_chain<M: RingMemory>(
    memory: &M,
    descriptors: &M::Area,
    config: &QueueConfig,
    head: u16,
) -> Result<Chain, RingError> {
    let mut walk = Walk::new(memory, config.size, head);
    let mut index = head;
    loop {
        let descriptor = Descriptor::from_words(descriptors.read_descriptor(desc_offset(index)));
        if descriptor.has(VIRTQ_DESC_F_INDIRECT) {
            if !config.indirect {
                return Err(RingError::IndirectNotNegotiated { head, index });
            }
            if descriptor.has(VIRTQ_DESC_F_NEXT) {
                return Err(RingError::IndirectWithNext { head, index });
            }
            // VIRTQ_DESC_F_WRITE is ignored here (2.7.5.3.2).
            walk.read_table(descriptor.addr, descriptor.len)?;
            return Ok(walk.chain);
        }
        walk.add(index, descriptor)?;
        match walk.next(index, descriptor, config.size.into())? {
            Some(next) => index = next,
            None => return Ok(walk.chain),
        }
    }
}

/// A chain while it is followed.
struct Walk<'memory, M> {
    memory: &'memory M,
    chain: Chain,
    size: u16,
    /// Descriptors seen.
    count: u16,
    /// Bytes seen. No overflow: at most 32768 buffers below 2^32 each.
    bytes: u64,
    /// A device-writable descriptor was seen.
    writable: bool,
}

impl<'memory, M: RingMemory> Walk<'memory, M> {
    fn new(memory: &'memory M, size: u16, head: u16) -> Self {
        let chain = Chain {
            head,
            readable: Segments::new(),
            writable: Segments::new(),
        };
        Self {
            memory,
            chain,
            size,
            count: 0,
            bytes: 0,
            writable: false,
        }
    }

    /// Follow an indirect table from its first entry (2.7.5.3).
    fn read_table(&mut self, address: u64, length: u32) -> Result<(), RingError> {
        let head = self.chain.head;
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
        let mut index = 0;
        loop {
            // No overflow: the whole table was found inside guest memory.
            let entry = address + desc_offset(index) as u64;
            let words = self.memory.read_descriptor(entry).ok_or(outside)?;
            let descriptor = Descriptor::from_words(words);
            if descriptor.has(VIRTQ_DESC_F_INDIRECT) {
                return Err(RingError::IndirectNested { head, index });
            }
            self.add(index, descriptor)?;
            match self.next(index, descriptor, entries)? {
                Some(next) => index = next,
                None => return Ok(()),
            }
        }
    }

    /// Check a buffer and take it into the chain.
    ///
    /// A buffer without bytes is left out, its address unchecked: no rule forbids one, and 2.7.4.1
    /// forbids assumptions about the arrangement. It counts as a descriptor and for the order.
    fn add(&mut self, index: u16, descriptor: Descriptor) -> Result<(), RingError> {
        let head = self.chain.head;
        let Descriptor { addr, len, .. } = descriptor;
        if self.count == self.size {
            return Err(RingError::ChainTooLong {
                head,
                size: self.size,
            });
        }
        self.count += 1;
        let writable = descriptor.has(VIRTQ_DESC_F_WRITE);
        if self.writable && !writable {
            return Err(RingError::ReadableAfterWritable { head, index });
        }
        self.writable = writable;
        if len == 0 {
            return Ok(());
        }
        self.bytes += u64::from(len);
        if self.bytes > MAX_CHAIN_BYTES {
            return Err(RingError::ChainTooLarge { head });
        }
        if !self.memory.contains(addr, len.into()) {
            return Err(RingError::BufferOutsideMemory {
                head,
                address: addr,
                length: len,
            });
        }
        let buffers = if writable {
            &mut self.chain.writable
        } else {
            &mut self.chain.readable
        };
        buffers.push(Segment { addr, len });
        Ok(())
    }

    /// Where the chain goes on, in a table of `entries`.
    fn next(
        &self,
        index: u16,
        descriptor: Descriptor,
        entries: u32,
    ) -> Result<Option<u16>, RingError> {
        if !descriptor.has(VIRTQ_DESC_F_NEXT) {
            return Ok(None);
        }
        let next = descriptor.next;
        if u32::from(next) >= entries {
            return Err(RingError::NextOutOfRange {
                head: self.chain.head,
                index,
                next,
                entries,
            });
        }
        Ok(Some(next))
    }
}
