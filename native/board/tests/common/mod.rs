//! A scripted device at the other end of a register channel.

#![allow(dead_code, reason = "each test uses a part")]

pub mod assembler;
pub mod held;
pub mod machine;

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A pair of connected `SOCK_SEQPACKET` sockets.
pub fn pair() -> (OwnedFd, OwnedFd) {
    let mut ends = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: the array has room for two descriptors.
    let result = unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) };
    assert_eq!(result, 0);
    // SAFETY: the call above made both, and nothing else owns them.
    unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) }
}

/// Receive a packet. Empty: the other end is closed.
pub fn receive(socket: &OwnedFd) -> Vec<u8> {
    let mut packet = vec![0; 1 << 17];
    // SAFETY: the buffer is valid for its length.
    let length = unsafe {
        libc::recv(
            socket.as_raw_fd(),
            packet.as_mut_ptr().cast(),
            packet.len(),
            0,
        )
    };
    packet.truncate(usize::try_from(length).unwrap_or(0));
    packet
}

pub fn send(socket: &OwnedFd, packet: &[u8]) {
    let flags = libc::MSG_NOSIGNAL;
    // SAFETY: the buffer is valid for its length.
    unsafe {
        libc::send(
            socket.as_raw_fd(),
            packet.as_ptr().cast(),
            packet.len(),
            flags,
        )
    };
}

/// A request: tag, and (offset, op, value) of each access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub tag: u32,
    pub accesses: Vec<(u32, u8, u64)>,
}

impl Request {
    pub fn decode(packet: &[u8]) -> Self {
        let word = |at: usize| u32::from_le_bytes(packet[at..at + 4].try_into().unwrap());
        let entry = |index: usize| {
            let at = 8 + 16 * index;
            let value = u64::from_le_bytes(packet[at + 8..at + 16].try_into().unwrap());
            assert_eq!(packet[at + 5..at + 8], [0, 0, 0]);
            (word(at), packet[at + 4], value)
        };
        let accesses: Vec<_> = (0..word(4) as usize).map(entry).collect();
        assert_eq!(packet.len(), 8 + 16 * accesses.len());
        Self {
            tag: word(0),
            accesses,
        }
    }
}

/// An answer.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub tag: u32,
    pub flags: u32,
    pub causes: u32,
    pub sequence: u64,
    pub values: Vec<u64>,
    pub text: Vec<u8>,
}

pub const LINE: u32 = 1;
pub const REFUSED: u32 = 2;

impl Answer {
    pub fn encode(&self) -> Vec<u8> {
        let mut packet = Vec::new();
        let count = u32::try_from(self.values.len()).unwrap();
        for word in [self.tag, count, self.flags, self.causes] {
            packet.extend(word.to_le_bytes());
        }
        packet.extend(self.sequence.to_le_bytes());
        self.values
            .iter()
            .for_each(|value| packet.extend(value.to_le_bytes()));
        packet.extend(&self.text);
        packet
    }
}
