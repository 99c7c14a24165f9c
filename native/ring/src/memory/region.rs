//! Regions of guest memory: their checks, and how they are mapped.
//!
//! A region is accepted only if nothing can make it fault later, or if it is guarded. The seal against
//! shrinking is checked *first* and the file size *second*; in this order the file can't shrink after the
//! check, and nothing is asked of a file system that may not answer: only memfds have seals. Any holder of
//! the descriptor can punch holes into hugetlbfs memory, which then faults if the pool of huge pages is
//! empty: such memory is guarded.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};

use vm_memory::mmap::MmapRegionError;
use vm_memory::{
    FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
    GuestRegionMmap, MmapRegion,
};

use super::guest_ram::to_usize;
use crate::error::MemoryError;

/// Most regions of one guest memory.
pub(super) const MAX_REGIONS: usize = 8;
/// Most regions of memory that is not sealed: what a vhost-user front end may plug in.
pub(super) const MAX_UNSEALED_REGIONS: usize = 32;
/// Addresses, sizes and offsets are multiples of this.
const PAGE: u64 = 4096;

/// One region of guest memory, as it is handed over.
#[derive(Debug, Clone, Copy)]
pub struct RegionSpec<'fd> {
    /// A memfd sealed with `F_SEAL_SHRINK`. It is duplicated.
    pub fd: BorrowedFd<'fd>,
    /// Guest address of the first byte, a multiple of 4096.
    pub guest_address: u64,
    /// Size in bytes, a multiple of 4096, not 0.
    pub size: u64,
    /// Where in the file the region starts, a multiple of 4096.
    pub file_offset: u64,
}

/// Check the ranges of all regions, before any file is touched.
pub(super) fn check_ranges(specs: &[RegionSpec<'_>], limit: usize) -> Result<(), MemoryError> {
    if specs.is_empty() {
        return Err(MemoryError::NoRegions);
    }
    if specs.len() > limit {
        let count = specs.len();
        return Err(MemoryError::TooManyRegions { count, limit });
    }
    let mut ends = Vec::with_capacity(specs.len());
    for (region, spec) in specs.iter().enumerate() {
        ends.push((spec.guest_address, check_range(region, spec)?, region));
    }
    ends.sort_unstable();
    for pair in ends.windows(2) {
        let [(_, end, first), (start, _, second)] = [pair[0], pair[1]];
        if end > start {
            return Err(MemoryError::Overlap { first, second });
        }
    }
    Ok(())
}

/// Check the ranges of one region. Returns the guest address after its last byte.
fn check_range(region: usize, spec: &RegionSpec<'_>) -> Result<u64, MemoryError> {
    let size = spec.size;
    if size == 0 {
        return Err(MemoryError::Empty { region });
    }
    let fields = [
        ("guest address", spec.guest_address),
        ("size", size),
        ("file offset", spec.file_offset),
    ];
    for (what, value) in fields {
        if !value.is_multiple_of(PAGE) {
            return Err(MemoryError::Unaligned {
                region,
                what,
                value,
            });
        }
    }
    let overflow = |what, start| MemoryError::Overflow {
        region,
        what,
        start,
        size,
    };
    // File offsets and mapping sizes are signed in the kernel's interface.
    spec.file_offset
        .checked_add(size)
        .filter(|end| i64::try_from(*end).is_ok() && isize::try_from(size).is_ok())
        .ok_or_else(|| overflow("file offset", spec.file_offset))?;
    spec.guest_address
        .checked_add(size)
        .ok_or_else(|| overflow("guest address", spec.guest_address))
}

/// Check that a file is sealed, and long enough.
pub(super) fn check_file(region: usize, spec: &RegionSpec<'_>) -> Result<(), MemoryError> {
    if !is_sealed_against_shrinking(spec.fd) {
        return Err(MemoryError::Unsealed { region });
    }
    let failed = |source| MemoryError::Map { region, source };
    let actual = duplicate(spec.fd)
        .and_then(|file| file.metadata())
        .map_err(failed)?
        .len();
    let required = spec.file_offset + spec.size;
    if actual < required {
        return Err(MemoryError::TooSmall {
            region,
            actual,
            required,
        });
    }
    Ok(())
}

/// Map a region whose ranges were checked.
pub(super) fn map_region(
    region: usize,
    spec: &RegionSpec<'_>,
) -> Result<GuestRegionMmap, MemoryError> {
    let failed = |source| MemoryError::Map { region, source };
    let file = duplicate(spec.fd).map_err(failed)?;
    let mapping = MmapRegion::build(
        Some(FileOffset::new(file, spec.file_offset)),
        to_usize(spec.size),
        libc::PROT_READ | libc::PROT_WRITE,
        // Without MAP_NORESERVE, so that huge pages are reserved here and not missed at a later fault.
        libc::MAP_SHARED,
    )
    .map_err(|error| failed(into_io(error)))?;
    let region = GuestRegionMmap::new(mapping, GuestAddress(spec.guest_address));
    Ok(region.expect("the end of the range was found to be a valid address"))
}

/// The guest addresses of regions, which are sorted and disjoint.
pub(super) fn join_adjacent(memory: &GuestMemoryMmap) -> Vec<Range<u64>> {
    let mut contiguous: Vec<Range<u64>> = Vec::new();
    for region in memory.iter() {
        let start = region.start_addr().0;
        // No overflow: that was checked before it was mapped.
        let end = start + region.len();
        match contiguous.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => contiguous.push(start..end),
        }
    }
    contiguous
}

fn duplicate(fd: BorrowedFd<'_>) -> io::Result<File> {
    fd.try_clone_to_owned().map(File::from)
}

/// A file that does not support seals (not a memfd) counts as unsealed.
fn is_sealed_against_shrinking(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: F_GET_SEALS takes no argument and touches no memory of this process.
    let seals = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GET_SEALS) };
    seals >= 0 && seals & libc::F_SEAL_SHRINK != 0
}

/// The page size of a file of hugetlbfs, in bytes; None for any other file. For files that are known to be
/// of this host.
pub(super) fn page_size_of_hugetlbfs(fd: BorrowedFd<'_>) -> Option<u64> {
    let mut system = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: the descriptor is open, and the structure is valid.
    if unsafe { libc::fstatfs(fd.as_raw_fd(), system.as_mut_ptr()) } < 0 {
        return None;
    }
    // SAFETY: all zeroes is a valid structure, and the call filled it.
    let system = unsafe { system.assume_init() };
    (system.f_type == libc::HUGETLBFS_MAGIC)
        .then(|| u64::try_from(system.f_bsize).map_or(PAGE, |size| size.max(1)))
}

fn into_io(error: MmapRegionError) -> io::Error {
    match error {
        MmapRegionError::Mmap(source) => source,
        other => io::Error::other(other),
    }
}
