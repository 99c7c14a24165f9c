//! A connected pair of packet sockets.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Two ends of a `SOCK_SEQPACKET` connection, non-blocking.
pub fn pair() -> [OwnedFd; 2] {
    let mut ends = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: the array has room for two descriptors.
    let result = unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) };
    assert_eq!(result, 0, "socketpair: {}", std::io::Error::last_os_error());
    // SAFETY: socketpair made both, and nothing else owns them.
    ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) })
}

/// Send a packet. False if it was not taken.
pub fn send(end: &OwnedFd, packet: &[u8]) -> bool {
    // SAFETY: the buffer is valid for its length.
    let sent = unsafe {
        libc::send(
            end.as_raw_fd(),
            packet.as_ptr().cast(),
            packet.len(),
            libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT,
        )
    };
    sent >= 0
}

/// Receive a packet into a buffer; its length, or None if there is none.
pub fn receive(end: &OwnedFd, buffer: &mut [u8]) -> Option<usize> {
    // SAFETY: the buffer is valid for its length.
    let length = unsafe {
        libc::recv(
            end.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            libc::MSG_DONTWAIT,
        )
    };
    usize::try_from(length).ok()
}
