//! Which queue configurations are accepted.

use virtmesh_ring::{ConfigError, DeviceQueue, DriverQueue, QueueConfig};

use crate::common::{BASE, INDIRECT_ENTRIES, Rig};

fn validate(change: impl FnOnce(&mut QueueConfig)) -> Result<(), ConfigError> {
    let mut rig = Rig::new(4, true, true);
    change(&mut rig.config);
    rig.config.validate(&rig.memory)
}

#[test]
fn good_queue_is_accepted() {
    assert_eq!(validate(|_| ()), Ok(()));
}

#[test]
fn size_is_a_power_of_two() {
    for size in [0, 3, 32767, 65535] {
        assert_eq!(
            validate(|config| config.size = size),
            Err(ConfigError::BadSize { size })
        );
    }
}

#[test]
fn size_of_a_packed_queue_is_any() {
    for size in [0, 32769, 65535] {
        let refusal = validate(|config| {
            config.packed = true;
            config.size = size;
        });
        assert_eq!(refusal, Err(ConfigError::BadPackedSize { size }));
    }
    for size in [1, 3, 32767] {
        let rig = Rig::new(size, true, true).packed(true);
        assert_eq!(rig.config.validate(&rig.memory), Ok(()));
    }
}

#[test]
fn largest_queue_is_accepted() {
    for packed in [false, true] {
        let rig = Rig::new(32768, true, true).packed(packed);
        assert_eq!(rig.config.validate(&rig.memory), Ok(()));
    }
}

#[test]
fn event_suppression_is_aligned_to_4() {
    let address = BASE + 0x1002;
    let part = "driver area";
    let expected = ConfigError::Misaligned {
        part,
        address,
        alignment: 4,
    };
    let refusal = validate(|config| {
        config.packed = true;
        config.driver_area = address;
    });
    assert_eq!(refusal, Err(expected));
}

#[test]
fn event_suppression_may_be_right_behind_the_ring() {
    let accepted = validate(|config| {
        config.packed = true;
        config.driver_area = config.descriptor_area + 64;
        config.device_area = config.driver_area + 4;
    });
    assert_eq!(accepted, Ok(()));
}

#[test]
fn event_suppression_may_not_overlap_the_ring() {
    let refusal = validate(|config| {
        config.packed = true;
        config.driver_area = config.descriptor_area + 60;
    });
    assert!(matches!(refusal, Err(ConfigError::Overlap { .. })));
}

#[test]
fn descriptor_area_is_aligned_to_16() {
    let address = BASE + 8;
    let part = "descriptor area";
    let expected = ConfigError::Misaligned {
        part,
        address,
        alignment: 16,
    };
    assert_eq!(
        validate(|config| config.descriptor_area = address),
        Err(expected)
    );
}

#[test]
fn driver_area_is_aligned_to_2() {
    let address = BASE + 0x1001;
    let part = "driver area";
    let expected = ConfigError::Misaligned {
        part,
        address,
        alignment: 2,
    };
    assert_eq!(
        validate(|config| config.driver_area = address),
        Err(expected)
    );
}

#[test]
fn device_area_is_aligned_to_4() {
    let address = BASE + 0x1002;
    let part = "device area";
    let expected = ConfigError::Misaligned {
        part,
        address,
        alignment: 4,
    };
    assert_eq!(
        validate(|config| config.device_area = address),
        Err(expected)
    );
}

#[test]
fn parts_are_inside_memory() {
    let outside = |part, address, length| ConfigError::OutsideMemory {
        part,
        address,
        length,
    };
    for address in [0, BASE - 16, u64::MAX - 15] {
        let expected = outside("descriptor area", address, 64);
        assert_eq!(
            validate(|config| config.descriptor_area = address),
            Err(expected)
        );
        let expected = outside("driver area", address, 14);
        assert_eq!(
            validate(|config| config.driver_area = address),
            Err(expected)
        );
        let expected = outside("device area", address, 38);
        assert_eq!(
            validate(|config| config.device_area = address),
            Err(expected)
        );
    }
}

#[test]
fn event_indexes_have_to_be_inside_memory_too() {
    let rig = Rig::new(4, false, false);
    let address = rig.end - 36;
    let config = QueueConfig {
        device_area: address,
        ..rig.config
    };
    let part = "device area";
    let expected = ConfigError::OutsideMemory {
        part,
        address,
        length: 38,
    };
    assert_eq!(config.validate(&rig.memory), Err(expected));
}

#[test]
fn parts_may_not_overlap() {
    let result = validate(|config| config.driver_area = config.descriptor_area + 62);
    let expected = ConfigError::Overlap {
        first: "descriptor area",
        second: "driver area",
    };
    assert_eq!(result, Err(expected));
}

#[test]
fn parts_may_not_coincide() {
    let result = validate(|config| config.device_area = config.descriptor_area);
    assert!(matches!(result, Err(ConfigError::Overlap { .. })));
}

#[test]
fn both_sides_check() {
    let mut rig = Rig::new(4, true, true);
    rig.config.size = 3;
    let expected = Some(ConfigError::BadSize { size: 3 });
    assert_eq!(
        DeviceQueue::new(rig.memory.clone(), rig.config).err(),
        expected
    );
    assert_eq!(
        DriverQueue::new(rig.memory, rig.config, None, 0).err(),
        expected
    );
}

fn with_tables(rig: &Rig, area: u64, entries: u16) -> Option<ConfigError> {
    DriverQueue::new(rig.memory.clone(), rig.config, Some(area), entries).err()
}

#[test]
fn indirect_area_needs_the_feature() {
    let rig = Rig::new(4, true, false);
    let error = with_tables(&rig, rig.indirect_area, INDIRECT_ENTRIES);
    assert_eq!(error, Some(ConfigError::IndirectNotNegotiated));
}

#[test]
fn indirect_area_needs_entries() {
    let rig = Rig::new(4, true, true);
    let error = with_tables(&rig, rig.indirect_area, 0);
    assert_eq!(error, Some(ConfigError::NoIndirectEntries));
}

#[test]
fn indirect_area_is_aligned_to_16() {
    let rig = Rig::new(4, true, true);
    let address = rig.indirect_area + 8;
    let part = "indirect area";
    let expected = ConfigError::Misaligned {
        part,
        address,
        alignment: 16,
    };
    assert_eq!(with_tables(&rig, address, 1), Some(expected));
}

#[test]
fn indirect_area_is_inside_memory() {
    let rig = Rig::new(4, true, true);
    let (address, length) = (rig.end - 16, 4 * 16);
    let part = "indirect area";
    let expected = ConfigError::OutsideMemory {
        part,
        address,
        length,
    };
    assert_eq!(with_tables(&rig, address, 1), Some(expected));
}

#[test]
fn indirect_area_may_not_overlap_the_rings() {
    let rig = Rig::new(4, true, true);
    let error = with_tables(&rig, rig.config.descriptor_area, 1);
    assert!(matches!(error, Some(ConfigError::Overlap { .. })));
}
