//! Guest memory as a vhost-user front end hands it over.
//!
//! Its files need not be sealed: QEMU seals those of `memory-backend-memfd` unless told not to, but
//! not those of other memory back ends, and user-mode Linux uses a plain file. A file is checked to be
//! long enough when it is mapped; one that is made shorter later costs its front end the connection,
//! and nobody else anything (see `guard`).
//!
//! Known gap: memory of hugetlbfs whose offset is no multiple of its page size is refused.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use virtmesh_device::Event;
use virtmesh_ring::{GuestRam, MemoryError, RegionSpec};
use vm_memory::{GuestAddress, GuestMemoryBackend};

use crate::guard::Guard;

/// What is mapped at a time, in bytes.
const PAGE: u64 = 4096;

/// The memory of a front end. Keep it for as long as queues run on [`FrontEndMemory::ram`].
#[derive(Debug)]
pub struct FrontEndMemory {
    // Dropped in this order: a range is crossed out before it can be unmapped.
    _guards: Vec<Guard>,
    ram: GuestRam,
    lost: Arc<Event>,
}

impl FrontEndMemory {
    /// Check and map 1 to 8 regions, in any order. Their files need not be sealed, nor stay open.
    ///
    /// A size need not be a multiple of 4096 (the crate `virtio-driver` maps just what its rings take):
    /// whole pages are mapped, and what is behind the end in the last one reaches nobody.
    ///
    /// # Errors
    /// Those of [`GuestRam::map`] but `Unsealed`.
    pub fn map(regions: &[RegionSpec<'_>]) -> Result<Self, MemoryError> {
        // Sealed memory without content holds the place: so that all that GuestRam promises holds for
        // it, and the ranges are checked where they always are.
        let mut length = 0;
        let mut whole = Vec::with_capacity(regions.len());
        for (index, region) in regions.iter().enumerate() {
            check_file(index, region)?;
            // It fits: the check bounds the size by the largest file offset.
            let size = region.size.next_multiple_of(PAGE);
            whole.push(RegionSpec { size, ..*region });
            length = length.max(size);
        }
        let place = placeholder(length).map_err(|source| MemoryError::Map { region: 0, source })?;
        let specs: Vec<_> = whole
            .iter()
            .map(|region| RegionSpec {
                fd: place.as_fd(),
                file_offset: 0,
                ..*region
            })
            .collect();
        let ram = GuestRam::map(&specs)?;
        let failed = |region| move |source| MemoryError::Map { region, source };
        let lost = Arc::new(Event::new().map_err(failed(0))?);
        let mut guards = Vec::with_capacity(whole.len());
        for (index, region) in whole.iter().enumerate() {
            let guard = map_over(&ram, region, &lost).map_err(failed(index))?;
            guards.push(guard);
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

    /// Readable once a file was found to be shorter than its region: the memory holds zeroes then.
    #[must_use]
    pub fn lost(&self) -> BorrowedFd<'_> {
        (*self.lost).as_fd()
    }
}

/// Check that a file is one, and long enough.
fn check_file(index: usize, region: &RegionSpec<'_>) -> Result<(), MemoryError> {
    let failed = |source| MemoryError::Map {
        region: index,
        source,
    };
    let file = File::from(region.fd.try_clone_to_owned().map_err(failed)?);
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(failed(io::Error::other("it is no regular file")));
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
    Ok(())
}

/// Make a sealed file of `length` bytes that takes no storage.
fn placeholder(length: u64) -> io::Result<File> {
    let name = c"virtmesh-front-end".as_ptr();
    // SAFETY: the name is a valid string.
    let fd = unsafe { libc::memfd_create(name, libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call above made the descriptor, and nothing else owns it.
    let file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    file.set_len(length)?;
    // SAFETY: F_ADD_SEALS takes no pointers.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_SHRINK) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(file)
}

/// Map a region's file over its place in `ram`, and guard it.
fn map_over(ram: &GuestRam, region: &RegionSpec<'_>, lost: &Arc<Event>) -> io::Result<Guard> {
    let place = ram
        .as_vm_memory()
        .get_host_address(GuestAddress(region.guest_address))
        .map_err(io::Error::other)?;
    // They fit: the place was mapped with this size, and the file was found to reach that far.
    let size = usize::try_from(region.size).map_err(io::Error::other)?;
    let offset = libc::off_t::try_from(region.file_offset).map_err(io::Error::other)?;
    // SAFETY: the place is a mapping of exactly this size, which `ram` owns and will unmap; nobody has
    // accessed it yet.
    let mapped = unsafe {
        libc::mmap(
            place.cast(),
            size,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_FIXED,
            region.fd.as_raw_fd(),
            offset,
        )
    };
    if mapped == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let start = place.addr();
    // No overflow: it is a mapping.
    Guard::new(&(start..start + size), Arc::clone(lost))
}
