//! System calls that discard ranges of a file, or fill them with zeroes.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// `BLKDISCARD` of `linux/fs.h`: `_IO(0x12, 119)`.
const BLKDISCARD: libc::Ioctl = 0x1277;
/// Zeroes to write where the file system has no call for it.
static ZEROES: [u8; 64 << 10] = [0; 64 << 10];

/// Discard a range of a block device.
pub fn discard_blocks(file: &File, offset: u64, length: u64) -> io::Result<()> {
    let range = [offset, length];
    // SAFETY: BLKDISCARD takes two 64-bit numbers.
    retry(|| unsafe { libc::ioctl(file.as_raw_fd(), BLKDISCARD, range.as_ptr()) })
}

/// Call fallocate with a mode. It never makes the file longer.
pub fn fallocate(file: &File, mode: libc::c_int, offset: u64, length: u64) -> io::Result<()> {
    // A length of 0 is refused by fallocate, and there is nothing to do.
    if length == 0 {
        return Ok(());
    }
    // No overflow: the range is inside the capacity, which is a file size.
    let (start, length) = (offset.cast_signed(), length.cast_signed());
    let mode = mode | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: fallocate takes no pointers.
    retry(|| unsafe { libc::fallocate(file.as_raw_fd(), mode, start, length) })
}

/// Write zeroes by `write`, which is given offsets and bytes.
pub fn write_zeroes(
    offset: u64,
    length: u64,
    write: impl Fn(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let (mut start, mut left) = (offset, length);
    while left > 0 {
        let chunk =
            &ZEROES[..usize::try_from(left).map_or(ZEROES.len(), |left| left.min(ZEROES.len()))];
        write(start, chunk)?;
        start += chunk.len() as u64;
        left -= chunk.len() as u64;
    }
    Ok(())
}

/// Repeat a system call while signals interrupt it.
fn retry(mut call: impl FnMut() -> libc::c_int) -> io::Result<()> {
    loop {
        if call() == 0 {
            return Ok(());
        }
        let cause = io::Error::last_os_error();
        if cause.kind() != io::ErrorKind::Interrupted {
            return Err(cause);
        }
    }
}

/// True for what the file system does not know.
pub fn is_unsupported(cause: &io::Error) -> bool {
    matches!(
        cause.raw_os_error(),
        Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::ENOTTY)
    )
}
