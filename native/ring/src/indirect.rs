//! The indirect descriptor tables of a driver (virtio 1.4, 2.7.5.3 and 2.8.7).

use crate::config::{AreaSpec, QueueConfig, check_disjoint};
use crate::descriptor_chain::Segment;
use crate::error::ConfigError;
use crate::layout::{DESC_SIZE, VIRTQ_DESC_F_NEXT, VIRTQ_DESC_F_WRITE, desc_offset};
use crate::memory::{RingArea, RingMemory};

/// Encodes a buffer with its flags as a table entry. The last argument is the index of the next entry.
pub(crate) type Encode = fn(&Segment, u16, u16) -> [u64; 2];

/// Room for one indirect table for each descriptor of the queue.
pub(crate) struct IndirectTables<A> {
    area: A,
    address: u64,
    /// Descriptors in each table, not 0.
    entries: u16,
}

impl<A: RingArea> IndirectTables<A> {
    /// Resolve the memory of the tables: `entries` descriptors for each entry of the queue.
    pub(crate) fn resolve<M: RingMemory<Area = A>>(
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
        let tables = AreaSpec {
            name: "indirect area",
            address,
            length: u64::from(config.size) * u64::from(entries) * u64::from(DESC_SIZE),
            alignment: u64::from(DESC_SIZE),
        };
        let area = tables.resolve(memory)?;
        let [descriptors, driver, device] = config.area_specs();
        check_disjoint(&mut [descriptors, driver, device, tables])?;
        Ok(Self {
            area,
            address,
            entries,
        })
    }

    /// True if a chain of `segments` buffers fits into a table and saves ring descriptors there.
    pub(crate) fn fits(&self, segments: u16) -> bool {
        (2..=self.entries).contains(&segments)
    }

    /// Write a chain into the table of `head`. Returns the address and length of the table.
    pub(crate) fn write(
        &self,
        head: u16,
        readable: &[Segment],
        writable: &[Segment],
        encode: Encode,
    ) -> Segment {
        // Inside the area, whose length `resolve` computed in the same way.
        let start = usize::from(head) * desc_offset(self.entries);
        let mut index = 0;
        for (segment, flags) in with_flags(readable, writable) {
            let words = encode(segment, flags, index + 1);
            self.area
                .write_descriptor(start + desc_offset(index), words);
            index += 1;
        }
        Segment {
            addr: self.address + start as u64,
            len: u32::from(index) * DESC_SIZE,
        }
    }
}

/// Iterate over the buffers of a chain with their descriptor flags. The chain has at least one buffer.
pub(crate) fn with_flags<'a>(
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
