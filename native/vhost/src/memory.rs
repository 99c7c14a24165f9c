//! Guest memory as a vhost-user front end hands it over.
//!
//! Its files need not be sealed: QEMU seals those of `memory-backend-memfd` unless told not to, but
//! not those of other memory back ends, and user-mode Linux uses a plain file. The size of a
//! file is checked when it is mapped. If the file shrinks later, the connection of its front end is
//! closed, and nothing else is affected (see `guard`).
//!
//! Known gap: memory of hugetlbfs whose size or offset is no multiple of its page size is refused.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;

use virtmesh_device::EventFd;
use virtmesh_ring::{GuestRam, MemoryError, RegionSpec};
use vm_memory::{GuestAddress, GuestMemoryBackend};

use crate::guard::Guard;

/// What sizes are rounded up to, in bytes.
const PAGE: u64 = 4096;

/// The memory of a front end. Keep it for as long as queues run on [`FrontEndMemory::ram`].
#[derive(Debug)]
pub struct FrontEndMemory {
    // Dropped in this order: a range is crossed out before it can be unmapped.
    _guards: Vec<Guard>,
    ram: GuestRam,
    lost: Arc<EventFd>,
}

impl FrontEndMemory {
    /// Check and map 1 to 32 regions, in any order. Their files need not be sealed, nor stay open.
    ///
    /// A size need not be a multiple of 4096 (the crate `virtio-driver` maps just the bytes of its rings).
    /// Whole pages are mapped; bytes past the end of the file in the last page are not shared.
    ///
    /// # Errors
    /// Those of [`GuestRam::map`] but `Unsealed`.
    pub fn map(regions: &[RegionSpec<'_>]) -> Result<Self, MemoryError> {
        let mut whole = Vec::with_capacity(regions.len());
        for (index, region) in regions.iter().enumerate() {
            check_file(index, region)?;
            // No overflow: the check limits the size to the largest file offset.
            let size = region.size.next_multiple_of(PAGE);
            whole.push(RegionSpec { size, ..*region });
        }
        // The system chooses the places, since huge pages have to be aligned to their size.
        let ram = GuestRam::map_unsealed(&whole)?;
        let failed = |region| move |source| MemoryError::Map { region, source };
        let lost = Arc::new(EventFd::new().map_err(failed(0))?);
        let mut guards = Vec::with_capacity(whole.len());
        for (index, region) in whole.iter().enumerate() {
            guards.push(guard(&ram, region, &lost).map_err(failed(index))?);
        }
        Ok(Self {
            _guards: guards,
            ram,
            lost,
        })
    }

    /// The memory, for rings.
    #[must_use]
    pub fn ram(&self) -> &GuestRam {
        &self.ram
    }

    /// Readable once a file was found shorter than its region. The memory reads as zeroes then.
    #[must_use]
    pub fn lost(&self) -> BorrowedFd<'_> {
        (*self.lost).as_fd()
    }
}

/// Check that a descriptor is a regular file of sufficient size.
fn check_file(index: usize, region: &RegionSpec<'_>) -> Result<(), MemoryError> {
    let failed = |source| MemoryError::Map {
        region: index,
        source,
    };
    let file = File::from(region.fd.try_clone_to_owned().map_err(failed)?);
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(failed(io::Error::other(
            "it is no regular file: give a memfd or a file",
        )));
    }
    let overflow = |what, start| MemoryError::Overflow {
        region: index,
        what,
        start,
        size: region.size,
    };
    let required = region
        .file_offset
        .checked_add(region.size)
        .filter(|end| i64::try_from(*end).is_ok())
        .ok_or_else(|| overflow("file offset", region.file_offset))?;
    if metadata.len() < required {
        return Err(MemoryError::TooSmall {
            region: index,
            actual: metadata.len(),
            required,
        });
    }
    check_huge_pages(&file, region).map_err(failed)
}

/// Refuse parts of huge pages: they can't be mapped, or can't be unmapped.
fn check_huge_pages(file: &File, region: &RegionSpec<'_>) -> io::Result<()> {
    let mut system = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: the descriptor is open, and the structure is valid.
    if unsafe { libc::fstatfs(file.as_raw_fd(), system.as_mut_ptr()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all zeroes is a valid structure, and the call filled it.
    let system = unsafe { system.assume_init() };
    let page = u64::try_from(system.f_bsize).unwrap_or(PAGE).max(1);
    let whole = |number: u64| number.is_multiple_of(page);
    if system.f_type != libc::HUGETLBFS_MAGIC || whole(region.size) && whole(region.file_offset) {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "its size or offset is no multiple of {page}, the size of its huge pages"
    )))
}

/// Guard a region that `ram` mapped.
fn guard(ram: &GuestRam, region: &RegionSpec<'_>, lost: &Arc<EventFd>) -> io::Result<Guard> {
    let place = ram
        .as_vm_memory()
        .get_host_address(GuestAddress(region.guest_address))
        .map_err(io::Error::other)?;
    let start = place.addr();
    // It fits, and there is no overflow: it is mapped.
    let size = usize::try_from(region.size).map_err(io::Error::other)?;
    Guard::new(&(start..start + size), Arc::clone(lost))
}
