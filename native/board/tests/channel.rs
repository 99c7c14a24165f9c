//! The register channel against a scripted device.

mod common;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use common::{Answer, LINE, REFUSED, Request, pair, receive, send};
use proptest::prelude::*;
use virtmesh_board::Notifier;
use virtmesh_board::channel::{Channel, Lost};
use virtmesh_board::wire::{Malformed, Operation};

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(60);
const READ: [Operation; 1] = [Operation {
    offset: 0x70,
    op: 4,
    value: 0,
}];

fn open(limit: Duration) -> (Channel, OwnedFd) {
    let (driver, device) = pair();
    (Channel::new(driver, limit).unwrap(), device)
}

/// What the channel makes of an answer to one read, with tag 1.
fn judge(packet: &[u8]) -> Result<(u64, bool), String> {
    let (mut channel, device) = open(LONG);
    channel.send(&READ).unwrap();
    send(&device, packet);
    let answer = channel.wait(None).map_err(|lost| lost.to_string())?;
    let answer = answer.expect("nothing interrupts");
    Ok((answer.first().unwrap_or(0), answer.refusal.is_some()))
}

fn good() -> Answer {
    Answer {
        tag: 1,
        values: vec![7],
        ..Answer::default()
    }
}

#[test]
fn a_request_carries_its_accesses_and_the_answer_their_values_and_the_line() {
    let (mut channel, device) = open(LONG);
    let operations = [
        Operation::read(0x70, 4),
        Operation::write(0x100, 8, u64::MAX),
    ];
    channel.send(&operations).unwrap();
    let request = Request::decode(&receive(&device));
    assert_eq!(request.accesses, [(0x70, 4, 0), (0x100, 0x88, u64::MAX)]);
    let answer = Answer {
        tag: request.tag,
        flags: LINE,
        causes: 3,
        sequence: 1 << 40,
        values: vec![0xF, 0],
        ..Answer::default()
    };
    send(&device, &answer.encode());
    let answer = channel.wait(None).unwrap().unwrap();
    assert_eq!((answer.first(), answer.executed()), (Some(0xF), 2));
    assert!(answer.line.asserted);
    assert_eq!((answer.line.causes, answer.line.sequence), (3, 1 << 40));
}

#[test]
fn a_request_without_accesses_asks_for_the_line() {
    let (mut channel, device) = open(LONG);
    channel.send(&[]).unwrap();
    let tag = Request::decode(&receive(&device)).tag;
    let answer = Answer {
        tag,
        flags: LINE,
        ..Answer::default()
    };
    send(&device, &answer.encode());
    assert!(channel.wait(None).unwrap().unwrap().line.asserted);
}

#[test]
fn a_refusal_has_reason_and_message() {
    let (mut channel, device) = open(LONG);
    channel.send(&READ).unwrap();
    let refusal = Answer {
        tag: 1,
        flags: REFUSED,
        text: b"MISALIGNED\0offset 0x71\xFF".to_vec(),
        ..Answer::default()
    };
    send(&device, &refusal.encode());
    let answer = channel.wait(None).unwrap().unwrap();
    let refusal = answer.refusal.unwrap();
    assert_eq!(refusal.reason, "MISALIGNED");
    assert_eq!(refusal.message, "offset 0x71\u{FFFD}");
}

#[test]
fn malformed_answers_lose_the_channel() {
    let tag = Answer { tag: 2, ..good() };
    let none = Answer {
        values: vec![],
        ..good()
    };
    let many = Answer {
        values: vec![1, 2],
        ..good()
    };
    let refused = Answer {
        flags: REFUSED,
        ..good()
    };
    let text = Answer {
        text: b"more".to_vec(),
        ..good()
    };
    let mut short = good().encode();
    short.pop();
    let mut cut = good().encode();
    cut.truncate(23);
    let mut endless = good().encode();
    endless[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    let malformed = [
        (tag.encode(), "tag"),
        (none.encode(), "0 of 1"),
        (many.encode(), "2 of 1"),
        (refused.encode(), "1 of 1"),
        (text.encode(), "bytes"),
        (short, "bytes"),
        (cut, "23 bytes"),
        (endless, "of 1"),
        (vec![0; 60_000], "60000 bytes"),
    ];
    for (packet, says) in malformed {
        let lost = judge(&packet).unwrap_err();
        assert!(
            lost.contains("malformed") && lost.contains(says),
            "{lost}: {says}"
        );
    }
    assert_eq!(judge(&good().encode()), Ok((7, false)));
}

#[test]
fn an_empty_packet_counts_as_the_end() {
    assert!(judge(&[]).unwrap_err().contains("ended"));
}

proptest! {
    #[test]
    fn no_answer_panics(packet in prop::collection::vec(any::<u8>(), 1..200)) {
        prop_assert!(judge(&packet).is_err());
    }

    #[test]
    fn any_bytes_behind_a_good_header_are_judged(
        flags in 0..8_u32, count in 0..4_u32, rest in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut packet = Answer { tag: 1, flags, text: rest.clone(), ..Answer::default() }.encode();
        packet[4..8].copy_from_slice(&count.to_le_bytes());
        let refused = flags & REFUSED != 0;
        let fits = if refused { count == 0 } else { count == 1 && rest.len() == 8 };
        prop_assert_eq!(judge(&packet).is_ok(), fits);
    }
}

#[test]
fn the_end_of_the_connection_ends_a_wait() {
    let (mut channel, device) = open(LONG);
    channel.send(&READ).unwrap();
    let ends = thread::spawn(move || drop((receive(&device), device)));
    assert!(matches!(channel.wait(None), Err(Lost::Ended)));
    ends.join().unwrap();
    assert!(channel.has_ended());
}

#[test]
fn a_device_that_is_gone_takes_no_request() {
    let (mut channel, device) = open(LONG);
    assert!(!channel.has_ended());
    drop(device);
    assert!(channel.has_ended());
    assert!(matches!(channel.send(&READ), Err(Lost::Ended)));
}

#[test]
fn a_device_that_does_not_answer_is_late() {
    let (mut channel, _device) = open(Duration::from_millis(20));
    channel.send(&READ).unwrap();
    assert!(matches!(channel.wait(None), Err(Lost::Late(_))));
}

#[test]
fn an_answer_that_is_there_is_taken_after_its_time() {
    let (mut channel, device) = open(Duration::ZERO);
    channel.send(&READ).unwrap();
    send(&device, &good().encode());
    assert_eq!(channel.wait(None).unwrap().unwrap().first(), Some(7));
}

#[test]
fn a_stop_ends_a_wait_and_the_next_wait_takes_the_answer() {
    let (mut channel, device) = open(LONG);
    let notifier = Arc::new(Notifier::new().unwrap());
    channel.send(&READ).unwrap();
    let stops = Arc::clone(&notifier);
    let stopper = thread::spawn(move || stops.stop());
    assert!(channel.wait(Some(&notifier)).unwrap().is_none());
    stopper.join().unwrap();
    assert!(channel.is_outstanding());
    send(&device, &good().encode());
    assert_eq!(channel.wait(None).unwrap().unwrap().first(), Some(7));
    assert!(!channel.is_outstanding());
}

#[test]
fn line_changes_during_a_wait_do_not_end_it() {
    let (mut channel, device) = open(LONG);
    let notifier = Arc::new(Notifier::new().unwrap());
    channel.send(&READ).unwrap();
    let tells = Arc::clone(&notifier);
    let teller = thread::spawn(move || {
        receive(&device);
        (0..1000).for_each(|_| tells.line_changed(3));
        send(&device, &good().encode());
        device
    });
    assert_eq!(
        channel.wait(Some(&notifier)).unwrap().unwrap().first(),
        Some(7)
    );
    drop(teller.join().unwrap());
}

#[test]
fn a_socket_of_another_type_is_refused() {
    let (stream, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    assert!(Channel::new(stream.into(), LONG).is_err());
}

#[test]
fn a_packet_longer_than_any_answer_is_named() {
    let (mut channel, device) = open(LONG);
    channel.send(&READ).unwrap();
    send(&device, &vec![0; 50_000]);
    let lost = channel.wait(None).unwrap_err();
    assert!(
        matches!(lost, Lost::Malformed(Malformed::TooLong(50_000))),
        "{lost}"
    );
}
