//! Reads a descriptor chain by its `next` fields (virtio 1.4, 2.7.5).

use crate::chain_builder::{ChainBuilder, ChainLimits};
use crate::descriptor_chain::Chain;
use crate::error::RingError;
use crate::layout::{
    Descriptor, VIRTQ_DESC_F_INDIRECT, VIRTQ_DESC_F_NEXT, VIRTQ_DESC_F_WRITE, desc_offset,
};
use crate::memory::{RingArea, RingMemory};

/// Copy the chain at `head` (below the queue size) out of shared memory, into an empty one.
pub(super) fn read_chain<M: RingMemory>(
    memory: &M,
    descriptors: &M::Area,
    limits: ChainLimits,
    head: u16,
    chain: &mut Chain,
) -> Result<(), RingError> {
    let mut builder = ChainBuilder::new(memory, limits, head, chain);
    let mut index = head;
    loop {
        let descriptor = Descriptor::from_words(descriptors.read_descriptor(desc_offset(index)));
        if descriptor.has(VIRTQ_DESC_F_INDIRECT) {
            if !limits.indirect {
                return Err(RingError::IndirectNotNegotiated { head, index });
            }
            if descriptor.has(VIRTQ_DESC_F_NEXT) {
                return Err(RingError::IndirectWithNext { head, index });
            }
            // VIRTQ_DESC_F_WRITE is ignored here (2.7.5.3.2).
            read_table(&mut builder, head, descriptor)?;
            break;
        }
        add(&mut builder, index, descriptor)?;
        match next(head, index, descriptor, limits.size.into())? {
            Some(next) => index = next,
            None => break,
        }
    }
    builder.finish(head);
    Ok(())
}

/// Read the chain in an indirect table, from its first entry on (2.7.5.3).
fn read_table<M: RingMemory>(
    builder: &mut ChainBuilder<'_, M>,
    head: u16,
    reference: Descriptor,
) -> Result<(), RingError> {
    let table = builder.enter_table(reference.addr, reference.len)?;
    let mut index = 0;
    loop {
        // No overflow: the whole table was found inside guest memory.
        let entry = reference.addr + desc_offset(index) as u64;
        let descriptor = Descriptor::from_words(builder.read(entry, &table)?);
        if descriptor.has(VIRTQ_DESC_F_INDIRECT) {
            return Err(RingError::IndirectNested { head, index });
        }
        add(builder, index, descriptor)?;
        match next(head, index, descriptor, table.entries)? {
            Some(next) => index = next,
            None => return Ok(()),
        }
    }
}

fn add<M: RingMemory>(
    builder: &mut ChainBuilder<'_, M>,
    index: u16,
    descriptor: Descriptor,
) -> Result<(), RingError> {
    let writable = descriptor.has(VIRTQ_DESC_F_WRITE);
    builder.add(index, descriptor.addr, descriptor.len, writable)
}

/// The next descriptor of the chain, in a table of `entries`; None at its end.
fn next(
    head: u16,
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
            head,
            index,
            next,
            entries,
        });
    }
    Ok(Some(next))
}
