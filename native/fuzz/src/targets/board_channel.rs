//! The hart's end of a register channel, against a hostile device: an answer is right for its request, or
//! the device is lost.

use std::time::Duration;

use arbitrary::{Result, Unstructured};
use virtmesh_board::{Channel, Operation};

use crate::socket::{pair, receive, send};

/// Longer than an input takes; an answer is there before it is waited for.
const LIMIT: Duration = Duration::from_secs(20);

/// Ask, and answer with any packet.
pub fn run(input: &mut Unstructured<'_>) -> Result<()> {
    let [driver, device] = pair();
    let mut channel = Channel::new(driver, LIMIT).expect("it is a packet socket");
    let mut request = [0; 1024];
    for _ in 0..input.int_in_range(1..=4_u8)? {
        let count = input.int_in_range(0..=8_usize)?;
        let operations = vec![Operation::read(0x70, 4); count];
        if channel.send(&operations).is_err() {
            return Ok(());
        }
        receive(&device, &mut request).expect("it was sent");
        let packet = packet(input, channel.tag(), count)?;
        if packet.is_empty() || !send(&device, &packet) {
            return Ok(());
        }
        let Ok(answer) = channel.wait(None) else {
            return Ok(());
        };
        let answer = answer.expect("nothing interrupts");
        let executed = answer.executed();
        assert!(executed <= count);
        assert_eq!(answer.refusal.is_none(), executed == count);
        assert_eq!(answer.value(executed), None);
        assert_eq!(answer.first().is_some(), executed > 0);
    }
    Ok(())
}

/// An answer, or something that is nearly one.
fn packet(input: &mut Unstructured<'_>, tag: u32, count: usize) -> Result<Vec<u8>> {
    let tag = if input.ratio(1, 8)? {
        input.arbitrary()?
    } else {
        tag
    };
    let executed = input.int_in_range(0..=count + 1)?;
    let said = if input.ratio(1, 8)? {
        input.arbitrary()?
    } else {
        u32::try_from(executed).expect("it is small")
    };
    let flags: u32 = if input.ratio(1, 8)? {
        input.arbitrary()?
    } else {
        u32::from(input.arbitrary::<u8>()? % 8)
    };
    let mut packet = Vec::new();
    for word in [tag, said, flags, input.arbitrary()?, input.arbitrary()?, 0] {
        packet.extend_from_slice(&word.to_le_bytes());
    }
    for _ in 0..executed {
        packet.extend_from_slice(&input.arbitrary::<u64>()?.to_le_bytes());
    }
    if input.arbitrary()? {
        let text = input.int_in_range(0..=40)?;
        packet.extend_from_slice(input.bytes(text.min(input.len()))?);
    }
    if input.ratio(1, 16)? {
        let end = input.int_in_range(0..=packet.len())?;
        packet.truncate(end);
    }
    Ok(packet)
}
