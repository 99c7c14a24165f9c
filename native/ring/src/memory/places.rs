//! Where the regions of guest memory are mapped: the translation of an address.
//!
//! Every part of every request is translated, so what `vm-memory` keeps behind two references for each
//! region (its address, its length, its mapping) stands here side by side. It is a copy of constants: regions
//! never change while they are mapped.

use vm_memory::{GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

/// The regions of a guest memory.
#[derive(Debug)]
pub(super) struct Places(Box<[Place]>);

/// One region: `length` bytes at guest address `start`, mapped at `host`.
#[derive(Debug)]
struct Place {
    start: u64,
    length: u64,
    host: *mut u8,
}

// SAFETY: the pointer is into a mapping that belongs to no thread. It is only handed out.
unsafe impl Send for Place {}
// SAFETY: as for Send; nothing here changes.
unsafe impl Sync for Place {}

impl Places {
    /// The places of all regions.
    pub(super) fn of(memory: &GuestMemoryMmap) -> Self {
        let places = memory.iter().map(|region| Place {
            start: region.start_addr().0,
            length: region.len(),
            host: region.get_mmap().as_ptr(),
        });
        Self(places.collect())
    }

    /// Where `length` bytes at a guest address are mapped, if they are all inside one region.
    ///
    /// The pointer is valid for that many bytes while the memory is mapped.
    #[inline]
    pub(super) fn find(&self, address: u64, length: u64) -> Option<*mut u8> {
        self.0.iter().find_map(|place| {
            let offset = address.checked_sub(place.start)?;
            let here = place.length.checked_sub(offset)?;
            // Lossless: it is inside a mapping. An address behind the last byte has no bytes there.
            #[expect(clippy::cast_possible_truncation, reason = "inside a mapping")]
            (here > 0 && length <= here).then(|| place.host.wrapping_add(offset as usize))
        })
    }
}
