//! Random bytes in rings give an error or a valid chain, never a panic.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use proptest::prelude::*;
use virtmesh_ring::layout::packed::{VIRTQ_DESC_F_AVAIL, VIRTQ_DESC_F_USED};
use virtmesh_ring::layout::{Descriptor, descriptor_area_len};
use virtmesh_ring::{Chain, RingMemory, Segment};

use crate::common::{BASE, Rig};

/// A descriptor that is wrong in few enough ways to get far.
fn descriptor() -> impl Strategy<Value = Descriptor> {
    let addr = prop_oneof![
        8 => BASE..BASE + 0x2000,
        1 => Just(u64::MAX),
        1 => any::<u64>(),
    ];
    let len = prop_oneof![
        6 => 0_u32..256,
        3 => (0_u32..16).prop_map(|entries| 16 * entries),
        1 => any::<u32>(),
    ];
    let flags = prop_oneof![8 => 0_u16..8, 1 => any::<u16>()];
    let next = prop_oneof![8 => 0_u16..20, 1 => any::<u16>()];
    (addr, len, flags, next).prop_map(|(addr, len, flags, next)| Descriptor {
        addr,
        len,
        flags,
        next,
    })
}

/// The flags that tell laps apart.
const LAP_FLAGS: u16 = VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED;

/// Available in the first lap, mostly.
fn packed_flags() -> impl Strategy<Value = u16> {
    prop_oneof![19 => Just(VIRTQ_DESC_F_AVAIL), 1 => any::<u16>()]
}

fn check(rig: &Rig, chain: &Chain) {
    let segments = chain.readable.iter().chain(&chain.writable);
    assert!(chain.readable.len() + chain.writable.len() <= rig.config.size.into());
    assert!(chain.head < rig.config.size);
    for &Segment { addr, len } in segments {
        assert!(len > 0 && rig.memory.contains(addr, len.into()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn garbage_from_a_driver_is_an_error_or_a_valid_chain(
        table in prop::collection::vec(descriptor(), 16),
        tables in prop::collection::vec(descriptor(), 64),
        heads in prop::collection::vec(prop_oneof![9 => 0_u16..16, 1 => any::<u16>()], 1..16),
        idx in prop_oneof![9 => 0_u16..=16, 1 => any::<u16>()],
        event_idx: bool,
        indirect: bool,
    ) {
        let rig = Rig::new(16, event_idx, indirect);
        rig.driver();
        for (index, d) in (0..).zip(&table) {
            rig.set_desc(index, d.addr, d.len, d.flags, d.next);
        }
        for (index, d) in (0..).zip(&tables) {
            rig.set_desc_at(rig.data.next_multiple_of(16) + 16 * index, d.addr, d.len, d.flags, d.next);
        }
        rig.offer(&heads);
        rig.set_avail_idx(idx);
        let mut device = rig.device();
        while let Ok(Some(chain)) = device.pop() {
            check(&rig, &chain);
            device.push(chain.head, 0).unwrap();
            device.needs_interrupt();
        }
    }

    #[test]
    fn garbage_from_a_device_is_an_error_or_a_chain_in_flight(
        entries in prop::collection::vec(
            (prop_oneof![9 => 0_u32..20, 1 => any::<u32>()], prop_oneof![9 => 0_u32..80, 1 => any::<u32>()]),
            1..16,
        ),
        idx in prop_oneof![9 => 0_u16..=16, 1 => any::<u16>()],
        chains in 1_u16..5,
    ) {
        let rig = Rig::new(16, true, false);
        let mut driver = rig.driver();
        let (readable, writable) = ([rig.segment(0, 9)], [rig.segment(9, 64); 2]);
        let mut in_flight: Vec<u16> = (0..chains)
            .map(|_| driver.add(&readable, &writable).unwrap().unwrap())
            .collect();
        rig.hand_back(&entries);
        rig.set_used_idx(idx);
        while let Ok(Some((head, written))) = driver.pop_used() {
            let position = in_flight.iter().position(|other| *other == head);
            in_flight.swap_remove(position.expect("the chain is in flight"));
            prop_assert!(written <= 128);
        }
        prop_assert_eq!(usize::from(driver.in_flight()), in_flight.len());
    }

    /// A packed ring, written anew for every lap.
    #[test]
    fn garbage_in_a_packed_ring_is_an_error_or_a_valid_chain(
        laps in prop::collection::vec(prop::collection::vec((descriptor(), packed_flags()), 15), 1..4),
        tables in prop::collection::vec(descriptor(), 64),
        event_idx: bool,
        indirect: bool,
    ) {
        let rig = Rig::new(15, event_idx, indirect).packed(true);
        rig.driver();
        let mut device = rig.device();
        for (index, d) in (0..).zip(&tables) {
            rig.set_packed_at(rig.data.next_multiple_of(16) + 16 * index, d.addr, d.len, d.next, d.flags);
        }
        for (lap, descriptors) in (0..).zip(laps) {
            for (index, (d, flags)) in (0..).zip(descriptors) {
                // Available in this lap, mostly.
                let flags = d.flags | if lap % 2 == 0 { flags } else { !flags & LAP_FLAGS };
                rig.set_packed(index, d.addr, d.len, d.next, flags);
            }
            while let Ok(Some(chain)) = device.pop() {
                check(&rig, &chain);
                device.push(chain.head, 0).unwrap();
                device.needs_interrupt();
            }
        }
    }

    #[test]
    fn bytes_of_any_kind_are_an_error_or_a_valid_chain(
        bytes in prop::collection::vec(any::<u8>(), 512),
        event_idx: bool,
        packed: bool,
    ) {
        let rig = Rig::new(16, event_idx, true).packed(packed);
        rig.memory.write(BASE, &bytes).unwrap();
        let mut device = rig.device();
        while let Ok(Some(chain)) = device.pop() {
            check(&rig, &chain);
        }
    }
}

/// A driver may rewrite its descriptors while the device reads them: each is judged by one copy.
#[test]
fn descriptors_that_change_while_they_are_read_are_an_error_or_a_valid_chain() {
    let rig = Rig::new(16, false, true);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = 0x2545_f491_4f6c_dd1d_u64;
            while !done.load(Ordering::Relaxed) {
                for index in 0..16 {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    let [a, b, c, d, ..] = random.to_le_bytes().map(u16::from);
                    let addr = if d < 250 {
                        rig.config.descriptor_area + u64::from(a)
                    } else {
                        random
                    };
                    rig.set_desc(index, addr, u32::from(b), c % 8, d % 17);
                }
            }
        });
        let (mut chains, mut errors) = (0, 0);
        while chains + errors < 20_000 {
            let mut device = rig.device();
            rig.offer(&(0..16).collect::<Vec<_>>());
            loop {
                match device.pop() {
                    Ok(Some(chain)) => check(&rig, &chain),
                    Ok(None) => break,
                    Err(_) => {
                        errors += 1;
                        break;
                    }
                }
                chains += 1;
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(
        rig.memory
            .contains(rig.config.descriptor_area, descriptor_area_len(16))
    );
}
