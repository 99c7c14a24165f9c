//! Random bytes from a driver affect only its own queue.

mod common;

use common::{BASE, Driver, PATIENCE, PLAIN, Rig, guest_ram, options};
use proptest::prelude::*;
use virtmesh_blk::parse::RequestLimits;
use virtmesh_blk::request::{Operation, Request, Status};
use virtmesh_ring::{Chain, GuestRam, RingMemory, Segment};

const MEMORY: u64 = 1 << 20;

#[test]
fn a_ring_of_garbage_never_harms_more_than_its_queue() {
    let rig = Rig::new(&[0; 8192], 2);
    let mut seed = 1_u64;
    for _ in 0..300 {
        let driver = Driver::new(PLAIN, 1);
        for address in (BASE..BASE + 4096).step_by(8) {
            // A xorshift generator: small numbers and memory addresses are made likely.
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let word = if seed & 1 == 0 {
                seed % 64
            } else {
                BASE | (seed % 65536)
            };
            driver.ram.write(address, &word.to_le_bytes()).unwrap();
        }
        for area in [driver.config.driver_area, driver.config.device_area] {
            driver.ram.write(area + 2, &16_u16.to_le_bytes()).unwrap();
        }
        rig.interrupt.reset();
        rig.start(0, &driver);
        driver.kick.signal();
        rig.device.request_stop(0);
        assert!(rig.device.join(0, PATIENCE));
        assert!(driver.ram.contains(BASE, 4096));
    }
    assert_eq!(rig.device.in_flight(), 0);
}

/// A chain over the first bytes of memory, in any framing.
fn any_chain() -> impl Strategy<Value = Chain> {
    let segment =
        (BASE..BASE + MEMORY - 4096, 0..2048_u32).prop_map(|(addr, len)| Segment { addr, len });
    let list = || prop::collection::vec(segment.clone(), 0..12);
    (any::<u16>(), list(), list()).prop_map(|(head, readable, writable)| Chain {
        head,
        readable: readable.into(),
        writable: writable.into(),
    })
}

/// Every range a request acts on, as (offset, length).
fn touched(request: &Request) -> Vec<(u64, u64)> {
    match &request.operation {
        Operation::Read { offset } => vec![(*offset, request.writable().len())],
        Operation::Write { offset } => vec![(*offset, request.readable().len())],
        Operation::Discard(ranges) | Operation::WriteZeroes(ranges) => ranges
            .iter()
            .map(|range| (range.offset, range.length))
            .collect(),
        Operation::Flush | Operation::Identify | Operation::Refuse(_) => vec![],
    }
}

proptest! {
    /// Whatever the driver writes, what comes out is inside the capacity or refused.
    #[test]
    fn garbage_stays_inside_the_capacity(
        chain in any_chain(),
        bytes in prop::collection::vec(any::<u8>(), 64),
        kind in 0..16_u32,
        features: u64,
        capacity in 0..200_u64,
    ) {
        let ram = guest_ram(MEMORY);
        if let Some(first) = chain.readable.first() {
            ram.write(first.addr, &bytes).unwrap();
            ram.write(first.addr, &kind.to_le_bytes()).unwrap();
        }
        let limits = options();
        let limits = RequestLimits {
            features,
            capacity,
            read_only: false,
            seg_max: limits.seg_max,
            size_max: limits.size_max,
            discard: limits.discard,
            write_zeroes: limits.write_zeroes,
        };
        if let Ok(request) = Request::parse(&chain, &ram, &limits) {
            for (offset, length) in touched(&request) {
                prop_assert!(offset + length <= capacity * 512);
            }
            check_answer(&ram, &chain, &request);
        }
    }
}

/// The answer of a failed request ends with the status, and says that no data is filled.
fn check_answer(ram: &GuestRam, chain: &Chain, request: &Request) {
    let total: u32 = chain.writable.iter().map(|segment| segment.len).sum();
    let covered = u32::from(total == 1);
    assert_eq!(request.complete(Status::IoErr), (chain.head, covered));
    let last = chain
        .writable
        .iter()
        .rfind(|segment| segment.len > 0)
        .unwrap();
    let mut status = [0];
    ram.read(last.addr + u64::from(last.len) - 1, &mut status)
        .unwrap();
    assert_eq!(status, [1]);
}
