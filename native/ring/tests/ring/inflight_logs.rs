//! In-flight logs with the content that a front end may hand over.

use virtmesh_ring::layout::inflight::region_len;
use virtmesh_ring::{
    ConfigError, DeviceQueue, GuestRam, LogRegion, QueueConfig, RingError, RingState,
};

use crate::common::{BASE, Rig, ram};
use crate::peers::Random;

const SIZE: u16 = 4;

/// A queue of 4, its log, and room for one.
struct Logged {
    rig: Rig,
    log: LogRegion,
}

impl Logged {
    fn new(packed: bool) -> Self {
        let rig = Rig::new(SIZE, true, true).packed(packed);
        let log = LogRegion {
            memory: ram(4096),
            address: BASE,
            capacity: SIZE,
        };
        Self { rig, log }
    }

    fn device(&self) -> Result<DeviceQueue, ConfigError> {
        DeviceQueue::with_log(self.rig.memory.clone(), self.rig.config, Some(&self.log))
    }

    /// Pop `count` chains of one buffer, and end.
    fn take(&self, count: usize) -> Vec<u16> {
        let mut driver = self.rig.driver();
        let mut device = self.device().unwrap();
        (0..count)
            .map(|_| {
                let segment = self.rig.segment(0, 8);
                driver.add(&[segment], &[]).unwrap().unwrap();
                device.pop().unwrap().unwrap().head
            })
            .collect()
    }

    fn write(&self, offset: u64, bytes: &[u8]) {
        self.log.memory.write(BASE + offset, bytes).unwrap();
    }
}

fn assert_bad(logged: &Logged) {
    let refusal = logged.device().map(|_| ());
    assert!(
        matches!(refusal, Err(ConfigError::BadLog { .. })),
        "{refusal:?}"
    );
}

#[test]
fn a_queue_with_a_log_that_is_not_in_use_begins_where_it_is_told() {
    for packed in [false, true] {
        let logged = Logged::new(packed);
        let device = logged.device().unwrap();
        assert!(!device.split().0.has_resubmits());
    }
}

#[test]
fn a_forgotten_log_has_nothing_in_flight() {
    for packed in [false, true] {
        let logged = Logged::new(packed);
        assert_eq!(logged.log.in_use(), Ok(false));
        assert_eq!(logged.take(3).len(), 3);
        assert_eq!(logged.log.in_use(), Ok(true));
        assert_eq!(logged.log.in_flight(packed), Ok(3));
        logged.log.forget().unwrap();
        assert_eq!(logged.log.in_flight(packed), Ok(0));
        assert_eq!(logged.log.in_use(), Ok(false));
        logged.rig.driver();
        let (consumer, _) = logged.device().unwrap().split();
        assert!(!consumer.has_resubmits());
    }
}

#[test]
fn a_state_is_ignored_beside_a_log_in_use() {
    for packed in [false, true] {
        let logged = Logged::new(packed);
        let heads = logged.take(3);
        let config = QueueConfig {
            state: Some(RingState::from_vring_base(packed, 0).unwrap()),
            ..logged.rig.config
        };
        let memory = logged.rig.memory.clone();
        let mut device = DeviceQueue::with_log(memory, config, Some(&logged.log)).unwrap();
        let again: Vec<_> = std::iter::from_fn(|| device.pop().unwrap())
            .map(|chain| chain.head)
            .collect();
        assert_eq!(again, heads);
    }
}

#[test]
fn chains_in_flight_count_as_waiting() {
    for packed in [false, true] {
        let logged = Logged::new(packed);
        logged.take(1);
        let mut device = logged.device().unwrap();
        assert_eq!(device.enable_notifications(), Ok(true));
        device.pop().unwrap().unwrap();
        assert_eq!(device.enable_notifications(), Ok(false));
    }
}

/// The limit of a device counts in indirect tables only.
#[test]
fn a_device_may_allow_longer_chains_in_tables() {
    for (packed, entries, longest) in [(false, 6, 6), (true, 6, 6), (false, 7, 6), (true, 7, 6)] {
        let rig = Rig::new(SIZE, true, true).packed(packed);
        let table = rig.indirect_area;
        for index in 0..entries {
            let flags = u16::from(index + 1 < entries);
            let address = table + 16 * u64::from(index);
            if packed {
                rig.set_packed_at(address, rig.data, 8, 0, 0);
            } else {
                rig.set_desc_at(address, rig.data, 8, flags, index + 1);
            }
        }
        let (length, indirect) = (16 * u32::from(entries), 4);
        if packed {
            rig.set_packed(0, table, length, 0, indirect | 1 << 7);
        } else {
            rig.set_desc(0, table, length, indirect, 0);
            rig.offer(&[0]);
        }
        let mut device = rig.device();
        device.allow_indirect_buffers(longest);
        let outcome = device.pop().map(|chain| chain.unwrap().readable.len());
        let expected = if entries <= longest {
            Ok(usize::from(entries))
        } else {
            let size = longest;
            Err(RingError::ChainTooLong { head: 0, size })
        };
        assert_eq!(outcome, expected);
    }
}

#[test]
fn chains_in_flight_without_a_log_are_refused_with_a_new_one() {
    for (packed, base) in [(false, 1), (true, 0x8000_8001)] {
        let mut logged = Logged::new(packed);
        logged.rig.config.state = Some(RingState::from_vring_base(packed, base).unwrap());
        assert_bad(&logged);
    }
}

#[test]
fn a_log_with_less_room_than_the_queue_is_refused() {
    let mut logged = Logged::new(false);
    logged.log.capacity = 3;
    let expected = ConfigError::LogTooSmall {
        size: 4,
        capacity: 3,
    };
    assert_eq!(logged.device().map(|_| ()), Err(expected));
}

#[test]
fn a_log_outside_its_memory_is_refused() {
    for packed in [false, true] {
        let mut logged = Logged::new(packed);
        logged.log.address = BASE + 4096 - region_len(packed, SIZE) + 8;
        let refusal = logged.device().map(|_| ());
        assert!(matches!(refusal, Err(ConfigError::OutsideMemory { .. })));
    }
}

#[test]
fn a_log_of_another_version_or_size_is_refused() {
    for packed in [false, true] {
        for header in [[2, 0, 4, 0], [1, 0, 5, 0]] {
            let logged = Logged::new(packed);
            logged.take(1);
            logged.write(8, &header);
            assert_bad(&logged);
        }
    }
}

/// `used_idx` far from the ring's, or a last batch with an entry out of range.
#[test]
fn a_split_log_with_a_last_batch_that_can_not_be_is_refused() {
    for (offset, value) in [(14, 0xFF00_u16), (14, 0xFFFF)] {
        let logged = Logged::new(false);
        logged.take(2);
        logged.write(12, &999_u16.to_le_bytes());
        logged.write(offset, &value.to_le_bytes());
        assert_bad(&logged);
    }
}

/// Offsets are those of `DescStatePacked`: chains that leave the log, loop, are of another length, or
/// share a buffer ID.
#[test]
fn a_packed_log_with_a_chain_that_can_not_be_is_refused() {
    let first = 32;
    let chains: [(u64, &[u8]); 5] = [
        (first + 4, &[9, 0]),
        (first + 6, &[0, 0]),
        (first + 6, &[2, 0]),
        (first + 16, &[1, 0]),
        (first + 16, &[9, 0]),
    ];
    for (offset, bytes) in chains {
        let logged = Logged::new(true);
        logged.take(2);
        logged.write(offset, bytes);
        assert_bad(&logged);
    }
}

#[test]
fn a_packed_log_with_a_free_list_that_can_not_be_is_refused() {
    for (offset, value) in [(14, 9_u16), (32 + 3 * 32 + 2, 2), (32 + 2 * 32 + 2, 4)] {
        let logged = Logged::new(true);
        logged.take(2);
        logged.write(offset, &value.to_le_bytes());
        assert_bad(&logged);
    }
}

/// Whatever a log holds: it is refused, or what it has in flight is judged as any chain is.
#[test]
fn any_bytes_are_a_log_or_refused() {
    let mut random = Random(7);
    for round in 0..20_000_u32 {
        let logged = Logged::new(round % 2 == 0);
        logged.take(3);
        scribble(&logged.log.memory, &mut random);
        let Ok(mut device) = logged.device() else {
            continue;
        };
        let mut chains = Vec::new();
        // As many as the ring has; then an error, or none.
        let _ = device.pop_batch(64, &mut chains);
        assert!(chains.len() <= usize::from(SIZE));
        for chain in chains {
            device.push(chain.head, 0).unwrap();
        }
    }
}

/// Change some small numbers of a log.
fn scribble(log: &GuestRam, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let offset = 8 + u64::from(random.below(160));
        let value = u8::try_from(random.below(10)).unwrap();
        log.write(BASE + offset, &[value]).unwrap();
    }
}
