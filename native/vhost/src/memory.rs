//! Guest memory as a vhost-user front end hands it over.
//!
//! Its files need not be sealed: QEMU seals those of `memory-backend-memfd` unless told not to, but
//! not those of other memory back ends, and user-mode Linux uses a plain file. The size of a
//! file is checked when it is mapped. If the file shrinks later, the connection of its front end is
//! closed, and nothing else is affected (see `virtmesh_ring`'s guard).
//!
//! A file that may lie anywhere is asked nothing before it is known where it lies: a server of FUSE need
//! not answer, and a question or a fault there would wait for it.
//!
//! Known gap: memory of hugetlbfs whose size or offset is no multiple of its page size is refused.

use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use virtmesh_ring::{GuestRam, MemoryError, RegionSpec};

/// What sizes are rounded up to, in bytes.
const PAGE: u64 = 4096;
/// File systems whose files answer without another process or host.
const LOCAL: &[&str] = &[
    "bcachefs",
    "btrfs",
    "ext2",
    "ext3",
    "ext4",
    "f2fs",
    "hugetlbfs",
    "overlay",
    "ramfs",
    "tmpfs",
    "xfs",
    "zfs",
];

/// The memory of a front end. Keep it for as long as queues run on [`FrontEndMemory::ram`].
#[derive(Debug)]
pub struct FrontEndMemory {
    ram: GuestRam,
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
        Ok(Self { ram })
    }

    /// The memory, for rings.
    #[must_use]
    pub fn ram(&self) -> &GuestRam {
        &self.ram
    }

    /// Readable once a file was found shorter than its region. The memory reads as zeroes then.
    ///
    /// # Panics
    /// Never: there is a region, and each is guarded.
    #[must_use]
    pub fn lost(&self) -> BorrowedFd<'_> {
        let lost = self.ram.lost();
        lost.expect("there is a region, and each is guarded")
    }
}

/// Check that a descriptor is a regular file of sufficient size.
fn check_file(index: usize, region: &RegionSpec<'_>) -> Result<(), MemoryError> {
    let failed = |source| MemoryError::Map {
        region: index,
        source,
    };
    check_place(region.fd).map_err(failed)?;
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

/// Refuse a file that may not answer. Asks the file system nothing.
fn check_place(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: F_GET_SEALS takes no argument. Only files of tmpfs and hugetlbfs have seals.
    if unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GET_SEALS) } >= 0 {
        return Ok(());
    }
    match file_system(fd)? {
        Some(kind) if LOCAL.contains(&kind.as_str()) => Ok(()),
        Some(kind) => Err(io::Error::other(format!(
            "it lies on {kind}, which need not answer: give a memfd, or a file of tmpfs"
        ))),
        None => Err(io::Error::other(
            "it is no regular file of a file system that is mounted here: give a memfd or a file of tmpfs",
        )),
    }
}

/// The type of the file system that a file lies on, if it is mounted in the namespace of this process.
fn file_system(fd: BorrowedFd<'_>) -> io::Result<Option<String>> {
    let about = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))?;
    let mut fields = about.lines();
    let mount = fields.find_map(|line| line.strip_prefix("mnt_id:"));
    let Some(mount) = mount.map(str::trim) else {
        return Ok(None);
    };
    // Paths are of any bytes; the number and the type are plain words.
    let mounts = fs::read("/proc/self/mountinfo")?;
    let mounts = String::from_utf8_lossy(&mounts);
    let found = mounts
        .lines()
        .find(|line| line.split(' ').next() == Some(mount));
    Ok(found
        .and_then(|line| line.split_once(" - "))
        .and_then(|(_, rest)| rest.split(' ').next())
        .map(str::to_owned))
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
