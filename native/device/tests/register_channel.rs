//! The device's end of a register channel, against drivers of every kind.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use virtmesh_device::{
    ChannelError, ENTRY_LIMIT, EventFd, INTERRUPT_CONFIG_CHANGE, INTERRUPT_USED_BUFFER, Interrupt,
    RegisterChannel, wait_readable,
};

/// Bytes of an answer before its values.
const ANSWER_HEADER: usize = 24;
/// Bytes of the largest request.
const REQUEST_LIMIT: usize = 8 + 16 * ENTRY_LIMIT;
/// Most bytes of the message of a refusal.
const MESSAGE_LIMIT: usize = 1024;
const LINE_ASSERTED: u32 = 1;
const REFUSED: u32 = 2;

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// A channel and the driver's end of it.
fn channel() -> (RegisterChannel, OwnedFd, Arc<Interrupt>) {
    let mut ends = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: the array has room for two descriptors.
    let result = unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) };
    assert_eq!(result, 0);
    // SAFETY: socketpair made both, and nothing else owns them.
    let [device, driver] = ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) });
    let interrupt = Arc::new(Interrupt::new().unwrap());
    let channel = RegisterChannel::new(device.as_raw_fd(), Arc::clone(&interrupt)).unwrap();
    (channel, driver, interrupt)
}

fn send(driver: &OwnedFd, packet: &[u8]) -> bool {
    // SAFETY: the buffer is valid for its length.
    let sent = unsafe {
        libc::send(
            driver.as_raw_fd(),
            packet.as_ptr().cast(),
            packet.len(),
            libc::MSG_NOSIGNAL,
        )
    };
    sent >= 0
}

fn recv(driver: &OwnedFd) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 1 << 17];
    // SAFETY: the buffer is valid for its length.
    let length = unsafe {
        libc::recv(
            driver.as_raw_fd(),
            bytes.as_mut_ptr().cast(),
            bytes.len(),
            0,
        )
    };
    bytes.truncate(usize::try_from(length).ok()?);
    Some(bytes)
}

fn request(tag: u32, entries: &[(u32, u8, u64)]) -> Vec<u8> {
    let mut packet = Vec::new();
    packet.extend_from_slice(&tag.to_le_bytes());
    packet.extend_from_slice(&u32::try_from(entries.len()).unwrap().to_le_bytes());
    for &(offset, op, value) in entries {
        packet.extend_from_slice(&offset.to_le_bytes());
        packet.extend_from_slice(&[op, 0, 0, 0]);
        packet.extend_from_slice(&value.to_le_bytes());
    }
    packet
}

fn words(answer: &[u8]) -> (u32, u32, u32, u32, u64) {
    let sequence = u64::from_le_bytes(answer[16..24].try_into().unwrap());
    let [tag, count, flags, causes] = [0, 4, 8, 12].map(|at| u32_at(answer, at));
    (tag, count, flags, causes, sequence)
}

#[test]
fn a_request_is_received_as_it_was_sent() {
    let (mut channel, driver, _) = channel();
    assert!(send(
        &driver,
        &request(7, &[(0x70, 0x84, u64::MAX), (0x100, 1, 0)])
    ));
    let request = channel.receive().unwrap().unwrap();
    let entries: Vec<_> = request
        .entries()
        .map(|e| (e.offset, e.op, e.value))
        .collect();
    assert_eq!(request.tag, 7);
    assert_eq!(entries, [(0x70, 0x84, u64::MAX), (0x100, 1, 0)]);
    assert!(channel.receive().unwrap().is_none());
}

#[test]
fn the_largest_request_and_the_largest_answer_pass() {
    let (mut channel, driver, _) = channel();
    assert!(send(&driver, &request(1, &vec![(4, 4, 0); ENTRY_LIMIT])));
    assert_eq!(
        channel.receive().unwrap().unwrap().entries().len(),
        ENTRY_LIMIT
    );
    assert!(
        channel
            .answer(1, vec![u64::MAX; ENTRY_LIMIT].into_iter(), None)
            .unwrap()
    );
    let answer = recv(&driver).unwrap();
    assert_eq!(answer.len(), ANSWER_HEADER + 8 * ENTRY_LIMIT);
    assert!(answer[ANSWER_HEADER..].iter().all(|byte| *byte == 0xFF));
}

#[test]
fn an_answer_carries_the_line_and_what_was_refused() {
    let (mut channel, driver, interrupt) = channel();
    interrupt.raise_used(0);
    interrupt.raise_config();
    send(&driver, &request(9, &[(0x64, 0x84, 1), (1, 4, 0)]));
    channel.receive().unwrap().unwrap();
    interrupt.acknowledge(INTERRUPT_USED_BUFFER);
    let refusal = Some(("MISALIGNED", "odd: ä"));
    assert!(channel.answer(9, [0].into_iter(), refusal).unwrap());
    let answer = recv(&driver).unwrap();
    assert_eq!(
        words(&answer),
        (9, 1, LINE_ASSERTED | REFUSED, INTERRUPT_CONFIG_CHANGE, 2)
    );
    let text = "MISALIGNED\0odd: ä".as_bytes();
    assert_eq!(&answer[ANSWER_HEADER + 8..], text);
}

#[test]
fn a_long_refusal_is_cut_between_characters() {
    let (mut channel, driver, _) = channel();
    for pad in 0..4 {
        let message = format!("{}{}", "x".repeat(pad), "€".repeat(1000));
        assert!(
            channel
                .answer(0, [].into_iter(), Some(("R", &message)))
                .unwrap()
        );
        let answer = recv(&driver).unwrap();
        let text = std::str::from_utf8(&answer[ANSWER_HEADER..]).unwrap();
        let longest = MESSAGE_LIMIT + 2;
        assert!(text.len() <= longest && text.len() > longest - 4);
    }
}

#[test]
fn only_an_answer_tells_what_its_accesses_did_to_the_line() {
    let (mut channel, driver, interrupt) = channel();
    let line = EventFd::new().unwrap();
    let descriptor = line.as_fd().as_raw_fd();
    interrupt.set_line_call(Some(descriptor)).unwrap();
    interrupt.raise_used(0);
    line.drain();
    send(&driver, &request(0, &[]));
    channel.receive().unwrap().unwrap();
    interrupt.acknowledge(INTERRUPT_USED_BUFFER);
    channel.answer(0, [].into_iter(), None).unwrap();
    assert_eq!(words(&recv(&driver).unwrap()).2, 0);
    interrupt.raise_used(0);
    interrupt.acknowledge(INTERRUPT_USED_BUFFER);
    assert_eq!(wait_readable([line.as_fd()]).unwrap(), [true]);
}

#[test]
fn malformed_packets_are_refused() {
    let good = request(1, &[(0, 4, 0)]);
    let mut unzero = good.clone();
    unzero[8 + 6] = 1;
    let mut many = good.clone();
    many[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    let packets: [&[u8]; 7] = [
        &good[..7],
        &good[..good.len() - 1],
        &[&good[..], &[0]].concat(),
        &[&good[..], &[0; 16]].concat(),
        &unzero,
        &many,
        &vec![0; REQUEST_LIMIT + 1],
    ];
    for packet in packets {
        let (mut channel, driver, _) = channel();
        assert!(send(&driver, packet));
        let refusal = channel.receive().unwrap_err();
        assert!(
            matches!(refusal, ChannelError::Malformed(_)),
            "{} bytes: {refusal}",
            packet.len()
        );
    }
}

#[test]
fn an_empty_packet_is_malformed_and_a_closed_connection_has_ended() {
    let (mut channel, driver, _) = channel();
    assert!(send(&driver, &[]));
    assert!(matches!(channel.receive(), Err(ChannelError::Malformed(_))));
    drop(driver);
    assert!(channel.has_ended());
    assert!(matches!(channel.receive(), Err(ChannelError::Ended)));
    assert!(matches!(
        channel.answer(0, [].into_iter(), None),
        Err(ChannelError::Ended)
    ));
}

#[test]
fn an_answer_that_is_not_read_is_kept_and_sent_later() {
    let (mut channel, driver, _) = channel();
    let mut sent = 0;
    while channel.answer(sent, [0; 1000].into_iter(), None).unwrap() {
        sent += 1;
    }
    assert!(!channel.flush().unwrap());
    for tag in 0..sent {
        assert_eq!(words(&recv(&driver).unwrap()).0, tag);
    }
    assert!(channel.flush().unwrap());
    assert_eq!(words(&recv(&driver).unwrap()).0, sent);
    assert!(channel.flush().unwrap());
    assert!(recv(&driver).is_none(), "it is sent once");
}

#[test]
fn a_wait_ends_with_a_packet_or_after_its_time() {
    let (channel, driver, _) = channel();
    assert!(!channel.wait(Duration::from_micros(1)));
    send(&driver, &request(0, &[]));
    assert!(channel.wait(Duration::from_secs(1000)));
}
