//! An in-flight log with any content: it is refused, or what it has in flight is judged as any chain is.

use arbitrary::{Result, Unstructured};
use virtmesh_ring::layout::inflight::region_len;
use virtmesh_ring::{DeviceQueue, DriverQueue, LogRegion, Segment};

use crate::guest::{self, BASE, SIZE};
use crate::targets::ring::config;

/// Take some chains with a log, change the log, and start on it again.
pub fn run(input: &mut Unstructured<'_>) -> Result<()> {
    let ram = guest::cleared(0);
    let packed = input.arbitrary()?;
    let mut config = config(input, packed)?;
    config.state = None;
    let log = LogRegion {
        memory: guest::cleared(1),
        address: BASE,
        capacity: config
            .size
            .max(1)
            .wrapping_add(input.arbitrary::<u16>()? % 2),
    };
    let Ok(mut driver) = DriverQueue::new(ram.clone(), config, None, 1) else {
        return Ok(());
    };
    let Ok(mut device) = DeviceQueue::with_log(ram.clone(), config, Some(&log)) else {
        return Ok(());
    };
    let buffer = [Segment {
        addr: BASE + 0x8000,
        len: 8,
    }];
    for _ in 0..input.int_in_range(0..=config.size)? {
        if driver
            .add(&buffer, &buffer)
            .is_ok_and(|token| token.is_some())
            && let Ok(Some(chain)) = device.pop()
            && input.ratio(1, 4)?
        {
            device.push(chain.head, 4).expect("it is in flight");
        }
    }
    drop(device);
    let room = region_len(packed, log.capacity).min(SIZE);
    for _ in 0..input.int_in_range(0..=8_u8)? {
        let at = BASE + u64::from(input.arbitrary::<u16>()?) % room;
        let value: u8 = input.arbitrary()?;
        log.memory.write(at, &[value]).expect("it is inside");
    }
    let noted = log.in_flight(packed);
    let Ok(mut device) = DeviceQueue::with_log(ram.clone(), config, Some(&log)) else {
        return Ok(());
    };
    let mut taken = Vec::new();
    let whole = loop {
        let chain = match device.pop() {
            Ok(Some(chain)) => chain,
            end => break end.is_ok(),
        };
        assert!(!taken.contains(&chain.head), "a chain is resubmitted once");
        for segment in chain.readable.iter().chain(&chain.writable) {
            let end = segment.addr.checked_add(segment.len.into());
            assert!(segment.addr >= BASE && end.is_some_and(|end| end <= BASE + SIZE));
        }
        taken.push(chain.head);
    };
    assert!(taken.len() <= usize::from(config.size));
    assert!(noted.is_ok());
    for head in taken {
        device.push(head, 0).expect("it is in flight");
    }
    drop(device);
    if let Ok(next) = DeviceQueue::with_log(ram, config, Some(&log)) {
        let (consumer, _) = next.split();
        assert!(!whole || !consumer.has_resubmits(), "all of it was used");
    }
    Ok(())
}
