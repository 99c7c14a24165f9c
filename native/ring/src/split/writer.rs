//! Writing a chain into the descriptor table, or into an indirect table (virtio 1.4, 2.7.5).

use super::shadow::Shadow;
use crate::chain::Segment;
use crate::error::ConfigError;
use crate::layout::{
    DESC_SIZE, Descriptor, Part, QueueConfig, VIRTQ_DESC_F_INDIRECT, VIRTQ_DESC_F_NEXT,
    VIRTQ_DESC_F_WRITE, check_disjoint, desc_offset,
};
use crate::memory::{RingArea, RingMemory};

/// Write a chain into free descriptors from `head` on; returns the last one.
pub(super) fn write_direct<A: RingArea>(
    descriptors: &A,
    shadow: &Shadow,
    readable: &[Segment],
    writable: &[Segment],
) -> u16 {
    let mut tail = shadow.head();
    let mut index = tail;
    for (segment, flags) in with_flags(readable, writable) {
        let next = shadow.after(index);
        descriptors.write_descriptor(desc_offset(index), encode(segment, flags, next));
        tail = index;
        index = next;
    }
    tail
}

/// Room for one indirect table for each descriptor of the queue.
pub(super) struct IndirectTables<A> {
    area: A,
    address: u64,
    /// Descriptors in each table, not 0.
    entries: u16,
}

impl<A: RingArea> IndirectTables<A> {
    /// Find the tables in memory: `entries` descriptors for each entry of the queue.
    pub(super) fn resolve<M: RingMemory<Area = A>>(
        memory: &M,
        config: &QueueConfig,
        address: u64,
        entries: u16,
    ) -> Result<Self, ConfigError> {
        if !config.indirect {
            return Err(ConfigError::IndirectNotNegotiated);
        }
        if entries == 0 {
            return Err(ConfigError::NoIndirectEntries);
        }
        let tables = Part {
            name: "indirect area",
            address,
            length: u64::from(config.size) * u64::from(entries) * u64::from(DESC_SIZE),
            alignment: u64::from(DESC_SIZE),
        };
        let area = tables.resolve(memory)?;
        let [descriptors, driver, device] = config.parts();
        check_disjoint(&mut [descriptors, driver, device, tables])?;
        Ok(Self {
            area,
            address,
            entries,
        })
    }

    /// Say whether a chain of so many buffers goes into a table: it has to fit and to save descriptors.
    pub(super) fn suit(&self, segments: u16) -> bool {
        (2..=self.entries).contains(&segments)
    }

    /// Write a chain into the table of `head`, and make `head` refer to it.
    pub(super) fn write(
        &self,
        descriptors: &A,
        head: u16,
        readable: &[Segment],
        writable: &[Segment],
    ) {
        // Inside the area, whose length `resolve` computed in the same way.
        let start = usize::from(head) * desc_offset(self.entries);
        let mut index = 0;
        for (segment, flags) in with_flags(readable, writable) {
            let words = encode(segment, flags, index + 1);
            self.area
                .write_descriptor(start + desc_offset(index), words);
            index += 1;
        }
        let table = Segment {
            addr: self.address + start as u64,
            len: u32::from(index) * DESC_SIZE,
        };
        let words = encode(&table, VIRTQ_DESC_F_INDIRECT, 0);
        descriptors.write_descriptor(desc_offset(head), words);
    }
}

/// Each buffer of a chain, which has at least one, with its flags.
fn with_flags<'a>(
    readable: &'a [Segment],
    writable: &'a [Segment],
) -> impl Iterator<Item = (&'a Segment, u16)> {
    let last = readable.len() + writable.len() - 1;
    let readable = readable.iter().map(|segment| (segment, 0));
    let writable = writable.iter().map(|segment| (segment, VIRTQ_DESC_F_WRITE));
    let chain = readable.chain(writable).enumerate();
    chain.map(move |(position, (segment, flags))| {
        let next = if position < last {
            VIRTQ_DESC_F_NEXT
        } else {
            0
        };
        (segment, flags | next)
    })
}

/// Encode a descriptor; `next` is left out where the flags don't call for it.
fn encode(segment: &Segment, flags: u16, next: u16) -> [u64; 2] {
    let continued = flags & VIRTQ_DESC_F_NEXT != 0;
    let descriptor = Descriptor {
        addr: segment.addr,
        len: segment.len,
        flags,
        next: if continued { next } else { 0 },
    };
    descriptor.to_words()
}
