//! A device side that continues from the state of an earlier one.

use virtmesh_ring::{ConfigError, DeviceQueue, DriverQueue, QueueConfig, RingState};

use crate::common::Rig;

/// A queue of 4.
fn rig(packed: bool) -> Rig {
    Rig::new(4, true, false).packed(packed)
}

/// Pass `count` chains of one buffer through a queue.
fn turns(rig: &Rig, driver: &mut DriverQueue, device: &mut DeviceQueue, count: u32) {
    for turn in 0..count {
        let head = driver.add(&[], &[rig.segment(0, 8)]).unwrap().unwrap();
        assert_eq!(device.pop().unwrap().unwrap().head, head);
        device.push(head, turn % 9).unwrap();
        assert_eq!(driver.pop_used().unwrap(), Some((head, turn % 9)));
    }
}

/// Another device side, which continues from a state.
fn resumed(rig: &Rig, state: RingState) -> DeviceQueue {
    let config = QueueConfig {
        state: Some(state),
        ..rig.config
    };
    DeviceQueue::new(rig.memory.clone(), config).unwrap()
}

/// Configure a queue with a vring base, as a front end passes it.
fn refusal(rig: &Rig, base: u32) -> Result<(), ConfigError> {
    let config = QueueConfig {
        state: Some(RingState::from_vring_base(rig.config.packed, base)?),
        ..rig.config
    };
    config.validate(&rig.memory)
}

#[test]
fn another_device_side_goes_on_where_the_last_one_ended() {
    for packed in [false, true] {
        for chains in [0, 1, 3, 4, 7, 8, 9, 0xFFFF, 0x1_0000, 0x1_0003] {
            let rig = rig(packed);
            let (mut driver, mut device) = (rig.driver(), rig.device());
            turns(&rig, &mut driver, &mut device, chains);
            let mut next = resumed(&rig, device.state());
            assert_eq!(next.state(), device.state());
            assert_eq!(next.pop().unwrap(), None);
            turns(&rig, &mut driver, &mut next, 9);
        }
    }
}

#[test]
fn chains_added_in_between_are_taken() {
    for packed in [false, true] {
        let rig = rig(packed);
        let (mut driver, mut device) = (rig.driver(), rig.device());
        turns(&rig, &mut driver, &mut device, 3);
        let segments = [rig.segment(0, 1), rig.segment(1, 1)];
        let head = driver.add(&segments, &[]).unwrap().unwrap();
        let mut next = resumed(&rig, device.state());
        assert_eq!(next.pop().unwrap().unwrap().head, head);
        next.push(head, 0).unwrap();
        assert_eq!(driver.pop_used().unwrap(), Some((head, 0)));
    }
}

#[test]
fn base_of_a_fresh_queue_is_where_both_sides_begin() {
    assert_eq!(rig(false).device().state().vring_base(), 0);
    assert_eq!(rig(true).device().state().vring_base(), 0x8000_8000);
}

#[test]
fn base_of_a_packed_queue_tells_both_positions() {
    let rig = rig(true);
    let (mut driver, mut device) = (rig.driver(), rig.device());
    turns(&rig, &mut driver, &mut device, 3);
    for _ in 0..2 {
        driver.add(&[], &[rig.segment(0, 8)]).unwrap().unwrap();
        device.pop().unwrap().unwrap();
    }
    assert_eq!(device.state().vring_base(), 0x8003_0001);
}

/// Chains that a device popped, in order, and did not push, are popped again.
#[test]
fn state_in_order_pops_chains_in_flight_again() {
    for packed in [false, true] {
        let rig = rig(packed);
        let (mut driver, mut device) = (rig.driver(), rig.device());
        turns(&rig, &mut driver, &mut device, 3);
        let segments = [rig.segment(0, 1), rig.segment(1, 1)];
        let heads = [0, 1].map(|_| driver.add(&segments, &[]).unwrap().unwrap());
        assert_eq!(device.pop_batch(9, &mut Vec::new()), Ok(2));
        device.push(heads[0], 0).unwrap();
        let mut next = resumed(&rig, device.state_in_order());
        assert_eq!(next.pop().unwrap().unwrap().head, heads[1]);
        next.push(heads[1], 0).unwrap();
        assert_eq!(driver.pop_used(), Ok(Some((heads[0], 0))));
        assert_eq!(driver.pop_used(), Ok(Some((heads[1], 0))));
    }
}

#[test]
fn base_that_is_no_index_is_refused() {
    let base = 0x1_0000;
    let expected = Err(ConfigError::BadBase { base });
    assert_eq!(refusal(&rig(false), base), expected);
}

#[test]
fn packed_base_outside_the_ring_is_refused() {
    for base in [0x8000_8004, 0x8004_8000, 0x7fff_8000, 0xffff_ffff] {
        let expected = Err(ConfigError::BadPackedBase { base, size: 4 });
        assert_eq!(refusal(&rig(true), base), expected);
    }
}

#[test]
fn packed_base_whose_positions_are_more_than_a_lap_apart_is_refused() {
    assert_eq!(refusal(&rig(true), 0x8002_0002), Ok(()));
    let base = 0x8002_0003;
    let expected = Err(ConfigError::BadPackedBase { base, size: 4 });
    assert_eq!(refusal(&rig(true), base), expected);
}

#[test]
fn state_of_the_other_format_is_refused() {
    for packed in [false, true] {
        let mut rig = rig(packed);
        rig.config.state = Some(RingState::initial(!packed));
        let expected = ConfigError::FormatMismatch { packed };
        assert_eq!(rig.config.validate(&rig.memory), Err(expected));
        assert_eq!(
            DeviceQueue::new(rig.memory.clone(), rig.config).err(),
            Some(expected)
        );
    }
}
