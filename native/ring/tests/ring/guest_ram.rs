//! Which memory is accepted, and which accesses are inside it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

use virtmesh_ring::{GuestRam, MemoryError, RegionSpec, RingArea, RingMemory};
use vm_memory::VolatileSlice;

use crate::common::{BASE, memfd, ram};

const PAGE: u64 = 4096;

fn sealed(size: u64) -> OwnedFd {
    memfd(size, libc::F_SEAL_SHRINK)
}

fn spec(fd: &OwnedFd, guest_address: u64, size: u64, file_offset: u64) -> RegionSpec<'_> {
    RegionSpec {
        fd: fd.as_fd(),
        guest_address,
        size,
        file_offset,
    }
}

/// Two regions side by side, from the two halves of a file, swapped.
fn adjacent() -> GuestRam {
    let fd = sealed(2 * PAGE);
    GuestRam::map(&[spec(&fd, BASE + PAGE, PAGE, 0), spec(&fd, BASE, PAGE, PAGE)]).unwrap()
}

#[test]
fn memory_has_a_region() {
    assert!(matches!(GuestRam::map(&[]), Err(MemoryError::NoRegions)));
}

#[test]
fn memory_has_at_most_8_regions() {
    let fd = sealed(PAGE);
    let specs: Vec<_> = (0..9)
        .map(|index| spec(&fd, index * PAGE, PAGE, 0))
        .collect();
    let error = GuestRam::map(&specs).unwrap_err();
    assert!(
        matches!(error, MemoryError::TooManyRegions { count: 9, limit: 8 }),
        "{error}"
    );
    assert_eq!(GuestRam::map(&specs[..8]).unwrap().size(), 8 * PAGE);
}

#[test]
fn region_has_bytes() {
    let fd = sealed(PAGE);
    let error = GuestRam::map(&[spec(&fd, 0, 0, 0)]).unwrap_err();
    assert!(matches!(error, MemoryError::Empty { region: 0 }), "{error}");
}

#[test]
fn region_is_made_of_pages() {
    let fd = sealed(4 * PAGE);
    let cases = [
        (spec(&fd, 2048, PAGE, 0), "guest address"),
        (spec(&fd, 0, PAGE + 1, 0), "size"),
        (spec(&fd, 0, PAGE, 512), "file offset"),
    ];
    for (case, field) in cases {
        let error = GuestRam::map(&[case]).unwrap_err();
        assert!(
            matches!(error, MemoryError::Unaligned { what, .. } if what == field),
            "{error}"
        );
    }
}

#[test]
fn region_ends_at_an_address() {
    let fd = sealed(PAGE);
    let start = u64::MAX - (PAGE - 1);
    let error = GuestRam::map(&[spec(&fd, start, PAGE, 0)]).unwrap_err();
    assert!(
        matches!(
            error,
            MemoryError::Overflow {
                what: "guest address",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn region_ends_at_a_file_offset() {
    let fd = sealed(PAGE);
    for (size, offset) in [(PAGE, u64::MAX - (PAGE - 1)), (PAGE, 1 << 63), (1 << 63, 0)] {
        let error = GuestRam::map(&[spec(&fd, 0, size, offset)]).unwrap_err();
        assert!(
            matches!(
                error,
                MemoryError::Overflow {
                    what: "file offset",
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[test]
fn regions_may_not_overlap() {
    let fd = sealed(4 * PAGE);
    let specs = [spec(&fd, 2 * PAGE, PAGE, 0), spec(&fd, PAGE, 2 * PAGE, 0)];
    let error = GuestRam::map(&specs).unwrap_err();
    assert!(
        matches!(
            error,
            MemoryError::Overlap {
                first: 1,
                second: 0
            }
        ),
        "{error}"
    );
}

#[test]
fn file_that_could_shrink_is_refused() {
    let fd = memfd(PAGE, libc::F_SEAL_GROW);
    let error = GuestRam::map(&[spec(&fd, 0, PAGE, 0)]).unwrap_err();
    assert!(
        matches!(error, MemoryError::Unsealed { region: 0 }),
        "{error}"
    );
}

#[test]
fn descriptor_that_knows_no_seals_is_refused() {
    let null = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
        .unwrap();
    let error = GuestRam::map(&[spec(&null.into(), 0, PAGE, 0)]).unwrap_err();
    assert!(
        matches!(error, MemoryError::Unsealed { region: 0 }),
        "{error}"
    );
}

#[test]
fn file_that_is_too_short_is_refused() {
    let fd = sealed(2 * PAGE);
    let error = GuestRam::map(&[spec(&fd, 0, 2 * PAGE, PAGE)]).unwrap_err();
    let (actual, required) = (2 * PAGE, 3 * PAGE);
    assert!(
        matches!(error, MemoryError::TooSmall { actual: a, required: r, .. }
            if (a, r) == (actual, required)),
        "{error}"
    );
}

#[test]
fn file_that_may_not_be_written_is_refused() {
    let fd = memfd(PAGE, libc::F_SEAL_SHRINK | libc::F_SEAL_WRITE);
    let error = GuestRam::map(&[spec(&fd, 0, PAGE, 0)]).unwrap_err();
    assert!(
        matches!(error, MemoryError::Map { region: 0, .. }),
        "{error}"
    );
}

#[test]
fn mapping_is_shared() {
    let fd = sealed(PAGE);
    let (ours, theirs) = (crate::common::map(&fd, PAGE), crate::common::map(&fd, PAGE));
    ours.write(BASE + 5, b"hello").unwrap();
    let mut seen = [0; 5];
    theirs.read(BASE + 5, &mut seen).unwrap();
    assert_eq!(&seen, b"hello");
}

#[test]
fn mapping_outlives_the_handle_while_a_part_is_held() {
    let memory = ram(PAGE);
    let part = memory.area(BASE, 16).unwrap();
    drop(memory);
    part.write_u32(4, 7);
    assert_eq!(part.read_u32(4), 7);
}

#[test]
fn access_spans_adjacent_regions() {
    let memory = adjacent();
    memory.write(BASE + PAGE - 2, b"abcd").unwrap();
    let mut seen = [0; 4];
    memory.read(BASE + PAGE - 2, &mut seen).unwrap();
    assert_eq!(&seen, b"abcd");
    let lengths: Vec<_> = memory
        .slices(BASE + PAGE - 2, 4)
        .unwrap()
        .iter()
        .map(VolatileSlice::len)
        .collect();
    assert_eq!(lengths, [2, 2]);
}

#[test]
fn descriptor_that_spans_regions_is_read_whole() {
    let memory = adjacent();
    let bytes: Vec<u8> = (1..=16).collect();
    memory.write(BASE + PAGE - 8, &bytes).unwrap();
    let words = [0x0807_0605_0403_0201, 0x100f_0e0d_0c0b_0a09];
    assert_eq!(memory.read_descriptor(BASE + PAGE - 8), Some(words));
}

#[test]
fn part_of_a_ring_is_in_one_region() {
    let memory = adjacent();
    assert!(memory.area(BASE + PAGE - 16, 16).is_some());
    assert!(memory.area(BASE + PAGE - 16, 17).is_none());
}

#[test]
fn access_outside_is_refused_and_copies_nothing() {
    let memory = ram(PAGE);
    for address in [0, BASE - 1, BASE + PAGE - 1, u64::MAX] {
        let error = memory.write(address, b"xy").unwrap_err();
        assert!(
            matches!(error, MemoryError::OutOfBounds { length: 2, .. }),
            "{error}"
        );
        assert!(memory.slices(address, 2).is_err());
        assert!(memory.read_descriptor(address).is_none());
    }
    let mut seen = [1];
    memory.read(BASE + PAGE - 1, &mut seen).unwrap();
    assert_eq!(seen, [0]);
}

#[test]
fn gap_between_regions_is_outside() {
    let fd = sealed(PAGE);
    let specs = [
        spec(&fd, BASE, PAGE, 0),
        spec(&fd, BASE + 2 * PAGE, PAGE, 0),
    ];
    let memory = GuestRam::map(&specs).unwrap();
    assert!(memory.contains(BASE + PAGE - 1, 1));
    assert!(!memory.contains(BASE + PAGE - 1, 2));
    assert!(!memory.contains(BASE, 3 * PAGE));
}

#[test]
fn refused_iovecs_leave_the_list_as_it_was() {
    let memory = ram(PAGE);
    let mut iovecs = Vec::new();
    memory.iovecs(BASE, 16, &mut iovecs).unwrap();
    assert!(memory.iovecs(BASE + PAGE - 1, 2, &mut iovecs).is_err());
    assert_eq!(
        iovecs.iter().map(|iovec| iovec.iov_len).collect::<Vec<_>>(),
        [16]
    );
}

#[test]
fn no_bytes_are_inside_anywhere() {
    let memory = ram(PAGE);
    memory.write(0, b"").unwrap();
    assert!(memory.slices(u64::MAX, 0).unwrap().is_empty());
}

#[test]
fn words_are_little_endian_and_aligned() {
    let memory = ram(PAGE);
    memory
        .store_u32(BASE, 0x0403_0201, Ordering::Relaxed)
        .unwrap();
    assert_eq!(
        memory.load_u16(BASE + 2, Ordering::Acquire).unwrap(),
        0x0403
    );
    let mut seen = [0; 4];
    memory.read(BASE, &mut seen).unwrap();
    assert_eq!(seen, [1, 2, 3, 4]);
    let error = memory.load_u32(BASE + 2, Ordering::Relaxed).unwrap_err();
    assert!(
        matches!(error, MemoryError::Misaligned { size: 4, .. }),
        "{error}"
    );
}

#[test]
#[should_panic(expected = "is outside an area of 6 bytes")]
fn part_of_a_ring_guards_its_end() {
    ram(PAGE).area(BASE, 6).unwrap().read_u32(4);
}

#[test]
#[should_panic(expected = "is not aligned")]
fn part_of_a_ring_guards_alignment() {
    ram(PAGE).area(BASE, 8).unwrap().read_u32(2);
}
