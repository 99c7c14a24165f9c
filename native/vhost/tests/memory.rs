//! The memory of a front end: refused regions, mapped regions, and files that shrink.

use std::error::Error;
use std::fs::File;
use std::os::fd::{AsFd, FromRawFd};

use virtmesh_device::wait_readable;
use virtmesh_ring::{MemoryError, RegionSpec};
use virtmesh_vhost::FrontEndMemory;

const PAGE: u64 = 4096;

fn file(pages: u64) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(pages * PAGE).unwrap();
    file
}

fn region(file: &File, guest_address: u64, pages: u64, first_page: u64) -> RegionSpec<'_> {
    RegionSpec {
        fd: file.as_fd(),
        guest_address,
        size: pages * PAGE,
        file_offset: first_page * PAGE,
    }
}

#[test]
fn a_plain_file_is_shared_from_its_offset_on() {
    let file = file(4);
    let memory = FrontEndMemory::map(&[region(&file, 0x8000_0000, 2, 1)]).unwrap();
    memory.ram().write(0x8000_1000, b"shared").unwrap();
    let mut found = [0; 6];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut found, 2 * PAGE).unwrap();
    assert_eq!(&found, b"shared");
}

#[test]
fn regions_may_come_in_any_order_and_share_a_file() {
    let file = file(4);
    let specs = [region(&file, 0x10_0000, 1, 3), region(&file, 0, 1, 0)];
    let memory = FrontEndMemory::map(&specs).unwrap();
    memory.ram().write(0x10_0000, b"last").unwrap();
    memory.ram().write(0, b"first").unwrap();
    let mut found = [0; 4];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut found, 3 * PAGE).unwrap();
    assert_eq!(&found, b"last");
}

#[test]
fn a_size_need_not_be_whole_pages() {
    let file = file(1);
    let spec = RegionSpec {
        size: 0xC50,
        ..region(&file, 0x10_0000, 1, 0)
    };
    let memory = FrontEndMemory::map(&[spec]).unwrap();
    memory.ram().write(0x10_0C4C, b"tail").unwrap();
    let mut found = [0; 4];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut found, 0xC4C).unwrap();
    assert_eq!(&found, b"tail");
}

#[test]
fn a_file_that_is_too_short_is_refused() {
    let file = file(1);
    let refusal = FrontEndMemory::map(&[region(&file, 0, 1, 1)]).unwrap_err();
    assert!(matches!(refusal, MemoryError::TooSmall { .. }), "{refusal}");
}

#[test]
fn what_is_no_file_is_refused() {
    let null = File::open("/dev/null").unwrap();
    let refusal = FrontEndMemory::map(&[region(&null, 0, 1, 0)]).unwrap_err();
    assert!(matches!(refusal, MemoryError::Map { .. }), "{refusal}");
}

#[test]
fn parts_of_huge_pages_are_refused() {
    let flags = libc::MFD_CLOEXEC | libc::MFD_HUGETLB | libc::MFD_HUGE_2MB;
    // SAFETY: the name is a valid string.
    let fd = unsafe { libc::memfd_create(c"huge".as_ptr(), flags) };
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the call above made the descriptor, and nothing else owns it.
    let file = unsafe { File::from_raw_fd(fd) };
    file.set_len(4 << 20).unwrap();
    for spec in [region(&file, 0, 1, 0), region(&file, 0, 512, 1)] {
        let refusal = FrontEndMemory::map(&[spec]).unwrap_err();
        let cause = refusal.source().unwrap().to_string();
        assert!(cause.contains("no multiple of 2097152"), "{cause}");
    }
}

#[test]
fn there_are_thirty_two_regions_at_most() {
    let file = file(1);
    let specs: Vec<_> = (0..33)
        .map(|number| region(&file, number * PAGE, 1, 0))
        .collect();
    let memory = FrontEndMemory::map(&specs[..32]).unwrap();
    assert_eq!(memory.ram().size(), 32 * PAGE);
    let refusal = FrontEndMemory::map(&specs).unwrap_err();
    assert!(
        matches!(
            refusal,
            MemoryError::TooManyRegions {
                count: 33,
                limit: 32
            }
        ),
        "{refusal}"
    );
}

#[test]
fn offsets_that_overflow_are_refused() {
    let file = file(1);
    let mut spec = region(&file, 0, 1, 0);
    spec.file_offset = u64::MAX - PAGE + 1;
    let refusal = FrontEndMemory::map(&[spec]).unwrap_err();
    assert!(matches!(refusal, MemoryError::Overflow { .. }), "{refusal}");
}

#[test]
fn overlapping_regions_are_refused() {
    let file = file(4);
    let specs = [region(&file, 0, 2, 0), region(&file, PAGE, 2, 2)];
    let refusal = FrontEndMemory::map(&specs).unwrap_err();
    assert!(matches!(refusal, MemoryError::Overlap { .. }), "{refusal}");
}

#[test]
fn a_file_that_becomes_shorter_costs_its_content_and_is_told() {
    let file = file(2);
    let memory = FrontEndMemory::map(&[region(&file, 0, 2, 0)]).unwrap();
    memory.ram().write(PAGE, b"gone").unwrap();
    file.set_len(0).unwrap();
    let mut found = [1; 4];
    memory.ram().read(PAGE, &mut found).unwrap();
    memory.ram().write(0, b"lost").unwrap();
    assert_eq!(found, [0; 4]);
    assert_eq!(wait_readable([memory.lost()]).unwrap(), [true]);
}

#[test]
fn memory_beside_it_is_not_touched() {
    let (short, whole) = (file(1), file(1));
    let specs = [region(&short, 0, 1, 0), region(&whole, 0x10_0000, 1, 0)];
    let memory = FrontEndMemory::map(&specs).unwrap();
    memory.ram().write(0x10_0000, b"kept").unwrap();
    short.set_len(0).unwrap();
    memory.ram().write(0, b"lost").unwrap();
    let mut found = [0; 4];
    memory.ram().read(0x10_0000, &mut found).unwrap();
    assert_eq!(&found, b"kept");
}

#[test]
fn a_file_of_a_file_system_that_is_not_mounted_here_is_refused() {
    let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let file = File::from(std::os::fd::OwnedFd::from(socket));
    let refusal = FrontEndMemory::map(&[region(&file, 0, 1, 0)]).unwrap_err();
    let cause = refusal.source().unwrap().to_string();
    assert!(cause.contains("mounted here"), "{cause}");
}
