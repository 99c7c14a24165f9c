//! Guest memory: sealed, as drivers hand it over, and the same for all inputs of a process.

use std::fs::File;
use std::os::fd::{AsFd, FromRawFd};
use std::sync::OnceLock;

use virtmesh_ring::{GuestRam, RegionSpec};

/// Guest address of the memory.
pub const BASE: u64 = 0x8000_0000;
/// Its size in bytes.
pub const SIZE: u64 = 1 << 16;

/// Sealed memory of [`SIZE`] bytes at [`BASE`].
fn make() -> GuestRam {
    // SAFETY: the name is a NUL-terminated string, which the call copies.
    let fd = unsafe {
        libc::memfd_create(
            c"fuzz".as_ptr(),
            libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING,
        )
    };
    assert!(fd >= 0, "memfd_create: {}", std::io::Error::last_os_error());
    // SAFETY: the call above made the descriptor, and nobody else has it.
    let file = unsafe { File::from_raw_fd(fd) };
    file.set_len(SIZE).expect("a memfd grows");
    // SAFETY: F_ADD_SEALS takes an int and touches no memory of this process.
    let sealed = unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, libc::F_SEAL_SHRINK) };
    assert_eq!(sealed, 0);
    GuestRam::map(&[RegionSpec {
        fd: file.as_fd(),
        guest_address: BASE,
        size: SIZE,
        file_offset: 0,
    }])
    .expect("sealed memory is taken")
}

/// The memory `number` of this process (0 or 1), cleared.
pub fn cleared(number: usize) -> GuestRam {
    static MADE: [OnceLock<GuestRam>; 2] = [const { OnceLock::new() }; 2];
    const ZEROES: [u8; 4096] = [0; 4096];
    let ram = MADE[number].get_or_init(make);
    for page in (0..SIZE).step_by(ZEROES.len()) {
        ram.write(BASE + page, &ZEROES).expect("it is inside");
    }
    ram.clone()
}
