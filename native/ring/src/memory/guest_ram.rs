//! Guest memory, on top of `vm-memory`: translation, copies and atomic words.

use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence};

use smallvec::SmallVec;
use vm_memory::{
    Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap,
    MemoryRegionAddress, VolatileSlice,
};

use super::RingMemory;
use super::guards::Guards;
use super::guest_area::GuestArea;
use super::places::Places;
use super::region::{
    MAX_REGIONS, MAX_UNSEALED_REGIONS, RegionSpec, check_file, check_ranges, join_adjacent,
    map_region, page_size_of_hugetlbfs,
};
use crate::error::MemoryError;

/// Guest physical memory, mapped shared. Clones are the same mapping, which lasts as long as any of
/// them (or of the areas and slices made from it).
#[derive(Debug, Clone)]
pub struct GuestRam {
    mapped: Arc<Mapped>,
}

#[derive(Debug)]
struct Mapped {
    // Dropped in this order: a range is crossed out before it can be unmapped.
    guards: Guards,
    memory: GuestMemoryMmap,
    /// The guest addresses of the regions, with adjacent ones joined. Bounds are checked against these.
    contiguous: Vec<Range<u64>>,
    /// Where each region is mapped. Addresses are translated by these.
    places: Places,
}

impl GuestRam {
    /// Check and map 1 to 8 regions, in any order.
    ///
    /// # Errors
    /// Every variant of [`MemoryError`] but `OutOfBounds` and `Misaligned`.
    ///
    pub fn map(specs: &[RegionSpec<'_>]) -> Result<Self, MemoryError> {
        check_ranges(specs, MAX_REGIONS)?;
        for (region, spec) in specs.iter().enumerate() {
            check_file(region, spec)?;
        }
        // No seal keeps the pages of hugetlbfs where they are.
        Self::map_checked(specs, |spec| page_size_of_hugetlbfs(spec.fd).is_some())
    }

    /// Map 1 to 32 regions of files that may shrink; see [`lost`](Self::lost). Only the ranges are checked.
    ///
    /// # Errors
    /// Those of [`map`](Self::map) except `Unsealed` and `TooSmall`.
    pub fn map_unsealed(specs: &[RegionSpec<'_>]) -> Result<Self, MemoryError> {
        check_ranges(specs, MAX_UNSEALED_REGIONS)?;
        Self::map_checked(specs, |_| true)
    }

    /// Map regions whose ranges were checked, so the `expect` here never fails. Those that are `fickle`
    /// are guarded.
    fn map_checked(
        specs: &[RegionSpec<'_>],
        fickle: impl Fn(&RegionSpec<'_>) -> bool,
    ) -> Result<Self, MemoryError> {
        let mut regions = specs
            .iter()
            .enumerate()
            .map(|(index, spec)| map_region(index, spec))
            .collect::<Result<Vec<_>, _>>()?;
        regions.sort_unstable_by_key(GuestMemoryRegion::start_addr);
        let memory = GuestMemoryMmap::from_regions(regions)
            .expect("the ranges were found to be disjoint, and are sorted");
        let guards = Guards::new(&memory, specs, fickle)?;
        let contiguous = join_adjacent(&memory);
        let places = Places::of(&memory);
        Ok(Self {
            mapped: Arc::new(Mapped {
                guards,
                memory,
                contiguous,
                places,
            }),
        })
    }

    /// Readable once a file was found shorter than its region, or a huge page gone. The whole region reads
    /// as zeroes then. None if nothing of this memory can go away. Keep a clone of this memory for as long
    /// as areas of it are used.
    #[must_use]
    pub fn lost(&self) -> Option<BorrowedFd<'_>> {
        self.mapped.guards.lost()
    }

    /// Sum of the sizes of the regions, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.as_vm_memory().iter().map(GuestMemoryRegion::len).sum()
    }

    /// The same memory for crates that build on `vm-memory`.
    #[must_use]
    pub fn as_vm_memory(&self) -> &GuestMemoryMmap {
        &self.mapped.memory
    }

    /// Copy bytes out. If the peer is writing them, the copy may mix old and new bytes.
    ///
    /// # Errors
    /// `OutOfBounds`; nothing was copied then.
    pub fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), MemoryError> {
        if let Some(slice) = self.slice(address, buffer.len() as u64) {
            slice.copy_to(buffer);
            return Ok(());
        }
        self.check(address, buffer.len() as u64)?;
        self.as_vm_memory()
            .read_slice(buffer, GuestAddress(address))
            .map_err(|_| out_of_bounds(address, buffer.len() as u64))
    }

    /// Copy bytes in.
    ///
    /// # Errors
    /// `OutOfBounds`; nothing was copied then.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), MemoryError> {
        if let Some(slice) = self.slice(address, bytes.len() as u64) {
            slice.copy_from(bytes);
            return Ok(());
        }
        self.check(address, bytes.len() as u64)?;
        self.as_vm_memory()
            .write_slice(bytes, GuestAddress(address))
            .map_err(|_| out_of_bounds(address, bytes.len() as u64))
    }

    /// Copy 16 bytes out as two little-endian words, each byte read once. The address need not be aligned.
    /// None if they are not all inside guest memory.
    #[must_use]
    #[inline]
    pub fn read_words(&self, address: u64) -> Option<[u64; 2]> {
        if let Some(place) = self.mapped.places.find(address, 16) {
            #[expect(clippy::cast_ptr_alignment, reason = "it is looked at next")]
            let words = place.cast::<u64>();
            if words.is_aligned() {
                // SAFETY: 16 bytes are mapped there while `self` lives, and aligned; all accesses to guest
                // memory in this process are atomic or volatile.
                let load = |at| unsafe { AtomicU64::from_ptr(words.wrapping_add(at)) };
                return Some([0, 1].map(|at| u64::from_le(load(at).load(Ordering::Relaxed))));
            }
        }
        self.read_bytes(address)
    }

    /// The same for words that are not aligned, or in two regions.
    #[cold]
    fn read_bytes(&self, address: u64) -> Option<[u64; 2]> {
        let mut bytes = [0; 16];
        self.read(address, &mut bytes).ok()?;
        let (low, high) = bytes.split_at(8);
        Some([low, high].map(|half| u64::from_le_bytes(half.try_into().expect("8 of 16 bytes"))))
    }

    /// Load a little-endian 16-bit word.
    ///
    /// # Errors
    /// `OutOfBounds`, `Misaligned`.
    pub fn load_u16(&self, address: u64, order: Ordering) -> Result<u16, MemoryError> {
        Ok(u16::from_le(
            self.word::<AtomicU16>(address)?.atomic_u16(0).load(order),
        ))
    }

    /// Store a little-endian 16-bit word.
    ///
    /// # Errors
    /// `OutOfBounds`, `Misaligned`.
    pub fn store_u16(&self, address: u64, value: u16, order: Ordering) -> Result<(), MemoryError> {
        self.word::<AtomicU16>(address)?
            .atomic_u16(0)
            .store(value.to_le(), order);
        Ok(())
    }

    /// Load a little-endian 32-bit word.
    ///
    /// # Errors
    /// `OutOfBounds`, `Misaligned`.
    pub fn load_u32(&self, address: u64, order: Ordering) -> Result<u32, MemoryError> {
        Ok(u32::from_le(
            self.word::<AtomicU32>(address)?.atomic_u32(0).load(order),
        ))
    }

    /// Store a little-endian 32-bit word.
    ///
    /// # Errors
    /// `OutOfBounds`, `Misaligned`.
    pub fn store_u32(&self, address: u64, value: u32, order: Ordering) -> Result<(), MemoryError> {
        self.word::<AtomicU32>(address)?
            .atomic_u32(0)
            .store(value.to_le(), order);
        Ok(())
    }

    /// Translate a buffer to where it is mapped: one slice, or more where it spans adjacent regions.
    ///
    /// # Errors
    /// `OutOfBounds`.
    pub fn slices(
        &self,
        address: u64,
        length: u64,
    ) -> Result<SmallVec<[VolatileSlice<'_>; 1]>, MemoryError> {
        if let Some(slice) = self.slice(address, length).filter(|_| length > 0) {
            return Ok(SmallVec::from_buf([slice]));
        }
        self.check(address, length)?;
        let mut slices = SmallVec::new();
        let (mut next, mut left) = (address, length);
        while left > 0 {
            let (region, offset, here) = self
                .locate(next)
                .ok_or_else(|| out_of_bounds(address, length))?;
            let count = left.min(here);
            let slice = region
                .get_slice(MemoryRegionAddress(offset), to_usize(count))
                .map_err(|_| out_of_bounds(address, length))?;
            slices.push(slice);
            next += count;
            left -= count;
        }
        Ok(slices)
    }

    /// Translate a buffer to an `iovec`, which points into the mapping: keep a clone of this memory for as
    /// long as it is used. None if it is not inside one region: see [`iovecs`](Self::iovecs).
    #[must_use]
    #[inline]
    pub fn iovec(&self, address: u64, length: u64) -> Option<libc::iovec> {
        let place = self.mapped.places.find(address, length)?;
        Some(libc::iovec {
            iov_base: place.cast(),
            iov_len: to_usize(length),
        })
    }

    /// Translate a buffer to `iovec`s, appended to `iovecs`, as [`iovec`](Self::iovec) does.
    ///
    /// # Errors
    /// `OutOfBounds`; nothing was appended then.
    pub fn iovecs(
        &self,
        address: u64,
        length: u64,
        iovecs: &mut impl Extend<libc::iovec>,
    ) -> Result<(), MemoryError> {
        let slices = self.slices(address, length)?;
        iovecs.extend(slices.iter().map(|slice| libc::iovec {
            iov_base: slice.ptr_guard_mut().as_ptr().cast(),
            iov_len: slice.len(),
        }));
        Ok(())
    }

    /// The bytes at an address, if they are inside one region.
    #[inline]
    fn slice(&self, address: u64, length: u64) -> Option<VolatileSlice<'_>> {
        let place = self.mapped.places.find(address, length)?;
        // SAFETY: so many bytes are mapped there, for as long as `self` lives.
        Some(unsafe { VolatileSlice::new(place, to_usize(length)) })
    }

    /// The region an address is in, its offset there, and the bytes from there to the region's end.
    fn locate(&self, address: u64) -> Option<(&GuestRegionMmap, u64, u64)> {
        let region = self.as_vm_memory().find_region(GuestAddress(address))?;
        let offset = address - region.start_addr().0;
        Some((region, offset, region.len() - offset))
    }

    fn check(&self, address: u64, length: u64) -> Result<(), MemoryError> {
        if RingMemory::contains(self, address, length) {
            Ok(())
        } else {
            Err(out_of_bounds(address, length))
        }
    }

    /// The aligned word of type `T` at an address. Alignment keeps it inside one region.
    fn word<T>(&self, address: u64) -> Result<GuestArea, MemoryError> {
        let size = size_of::<T>() as u64;
        if !address.is_multiple_of(size) {
            return Err(MemoryError::Misaligned { address, size });
        }
        self.area(address, size)
            .ok_or_else(|| out_of_bounds(address, size))
    }
}

impl RingMemory for GuestRam {
    type Area = GuestArea;

    fn area(&self, address: u64, length: u64) -> Option<GuestArea> {
        let (region, offset, here) = self.locate(address)?;
        let (offset, size) = (to_usize(offset), to_usize(length));
        (length <= here).then(|| GuestArea::new(region.get_mmap(), offset, size))
    }

    #[inline]
    fn contains(&self, address: u64, length: u64) -> bool {
        let holds = |range: &Range<u64>| range.contains(&address) && length <= range.end - address;
        length == 0 || self.mapped.contiguous.iter().any(holds)
    }

    #[inline]
    fn read_descriptor(&self, address: u64) -> Option<[u64; 2]> {
        self.read_words(address)
    }

    fn full_fence(&self) {
        fence(Ordering::SeqCst);
    }
}

fn out_of_bounds(address: u64, length: u64) -> MemoryError {
    MemoryError::OutOfBounds { address, length }
}

/// Sizes and offsets inside a mapping fit `usize`: that was checked before it was mapped.
pub(super) fn to_usize(value: u64) -> usize {
    usize::try_from(value).expect("a size inside a mapping")
}
