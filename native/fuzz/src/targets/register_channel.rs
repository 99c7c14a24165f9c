//! The device's end of a register channel, with packets of any content: each is a request, or ends the
//! channel, and each request is answered.

use std::os::fd::AsRawFd;
use std::sync::{Arc, OnceLock};

use arbitrary::{Result, Unstructured};
use virtmesh_device::{ENTRY_LIMIT, Interrupt, RegisterChannel};

use crate::socket::{pair, receive, send};

/// Bytes of an answer before its values, and most bytes of a message behind them.
const HEADER: usize = 24;
const MESSAGE: usize = 1024;

/// Send packets, and answer what is a request.
pub fn run(input: &mut Unstructured<'_>) -> Result<()> {
    static INTERRUPT: OnceLock<Arc<Interrupt>> = OnceLock::new();
    let interrupt =
        INTERRUPT.get_or_init(|| Arc::new(Interrupt::new().expect("descriptors are left")));
    let [device, driver] = pair();
    let mut channel =
        RegisterChannel::new(device.as_raw_fd(), Arc::clone(interrupt)).expect("it is a socket");
    let mut answer = vec![0; HEADER + 8 * ENTRY_LIMIT + 2 * MESSAGE];
    for _ in 0..input.int_in_range(1..=4_u8)? {
        let packet = packet(input)?;
        if packet.is_empty() || !send(&driver, &packet) {
            continue;
        }
        let Ok(request) = channel.receive() else {
            return Ok(());
        };
        let request = request.expect("a packet was sent");
        let tag = request.tag;
        let values: Vec<u64> = request.entries().map(|entry| entry.value).collect();
        assert_eq!(packet.len(), 8 + 16 * values.len());
        interrupt.set_level(input.arbitrary()?);
        let reason: Option<&str> = input.arbitrary()?;
        let refusal = reason.map(|message| ("REASON", message));
        assert!(matches!(
            channel.answer(tag, values.iter().copied(), refusal),
            Ok(true)
        ));
        let length = receive(&driver, &mut answer).expect("it was answered");
        let end = HEADER + 8 * values.len();
        let text = if refusal.is_some() {
            "REASON".len() + 1 + MESSAGE
        } else {
            0
        };
        assert!((end..=end + text).contains(&length));
        assert_eq!(answer[..4], tag.to_le_bytes());
    }
    Ok(())
}

/// A request, or something that is nearly one.
fn packet(input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let count = input.int_in_range(0..=20_u32)?;
    let mut packet = Vec::new();
    packet.extend_from_slice(&input.arbitrary::<[u8; 4]>()?);
    let said = if input.ratio(1, 8)? {
        input.arbitrary()?
    } else {
        count
    };
    packet.extend_from_slice(&said.to_le_bytes());
    for _ in 0..count {
        packet.extend_from_slice(&input.arbitrary::<u32>()?.to_le_bytes());
        let padding = if input.ratio(1, 32)? { 1 } else { 0 };
        packet.extend_from_slice(&[input.arbitrary()?, padding, 0, 0]);
        packet.extend_from_slice(&input.arbitrary::<u64>()?.to_le_bytes());
    }
    if input.ratio(1, 8)? {
        let end = input.int_in_range(0..=packet.len())?;
        packet.truncate(end);
    }
    Ok(packet)
}
