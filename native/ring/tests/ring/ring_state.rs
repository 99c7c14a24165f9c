//! The encodings of a ring state: the vring base of vhost-user, and bytes.

use proptest::prelude::*;
use virtmesh_ring::layout::packed::Position;
use virtmesh_ring::{ConfigError, RingState, StateError};

const SPLIT: RingState = RingState::Split { next_avail: 0xABCD };
const PACKED: RingState = RingState::Packed {
    avail: Position {
        index: 0x1234,
        wrap: false,
    },
    used: Position {
        index: 0x0567,
        wrap: true,
    },
};

#[test]
fn vring_base_of_a_split_ring_is_the_next_available_index() {
    assert_eq!(SPLIT.vring_base(), 0xABCD);
    assert_eq!(RingState::from_vring_base(false, 0xABCD), Ok(SPLIT));
}

#[test]
fn vring_base_of_a_packed_ring_has_both_indexes_with_their_wrap_counters() {
    assert_eq!(PACKED.vring_base(), 0x8567_1234);
    assert_eq!(RingState::from_vring_base(true, 0x8567_1234), Ok(PACKED));
}

#[test]
fn vring_base_of_a_split_ring_has_no_upper_bits() {
    let expected = Err(ConfigError::BadBase { base: 0x1_0000 });
    assert_eq!(RingState::from_vring_base(false, 0x1_0000), expected);
}

#[test]
fn initial_state_is_that_of_cleared_rings() {
    assert_eq!(RingState::initial(false).vring_base(), 0);
    assert_eq!(RingState::initial(true).vring_base(), 0x8000_8000);
}

#[test]
fn fields_are_those_of_the_format() {
    let fields = |state: RingState| {
        (
            state.next_avail(),
            state.next_used(),
            state.avail_wrap(),
            state.used_wrap(),
        )
    };
    assert_eq!(fields(SPLIT), (0xABCD, None, None, None));
    let packed = (0x1234, Some(0x0567), Some(false), Some(true));
    assert_eq!(fields(PACKED), packed);
}

#[test]
fn bytes_are_little_endian_behind_version_and_format() {
    assert_eq!(SPLIT.to_bytes(), [1, 0, 0, 0, 0xCD, 0xAB, 0, 0]);
    assert_eq!(PACKED.to_bytes(), [1, 0, 1, 2, 0x34, 0x12, 0x67, 0x05]);
}

#[test]
fn bytes_of_another_length_are_refused() {
    for actual in [0, 7, 9] {
        let expected = StateError::BadLength {
            actual,
            expected: 8,
        };
        assert_eq!(RingState::from_bytes(&vec![1; actual]), Err(expected));
    }
}

#[test]
fn other_versions_are_refused() {
    for version in [0, 2, 0x0101_u16] {
        let [low, high] = version.to_le_bytes();
        let refusal = RingState::from_bytes(&[low, high, 0, 0, 0, 0, 0, 0]);
        let expected = StateError::UnknownVersion { version, known: 1 };
        assert_eq!(refusal, Err(expected));
    }
}

#[test]
fn other_formats_are_refused() {
    let refusal = RingState::from_bytes(&[1, 0, 2, 0, 0, 0, 0, 0]);
    assert_eq!(refusal, Err(StateError::UnknownFormat { format: 2 }));
}

#[test]
fn reserved_bits_are_refused() {
    let refused = [
        [1, 0, 0, 1, 0, 0, 0, 0],
        [1, 0, 0, 0, 0, 0, 1, 0],
        [1, 0, 1, 4, 0, 0, 0, 0],
    ];
    for bytes in refused {
        let refusal = RingState::from_bytes(&bytes).unwrap_err();
        assert!(matches!(refusal, StateError::ReservedBits { .. }));
    }
}

#[test]
fn packed_indexes_are_below_the_largest_queue_size() {
    for (field, bytes) in [
        ("next_avail", [1, 0, 1, 0, 0, 0x80, 0, 0]),
        ("next_used", [1, 0, 1, 0, 0, 0, 0, 0x80]),
    ] {
        let index = 0x8000;
        let expected = StateError::IndexOutOfRange { field, index };
        assert_eq!(RingState::from_bytes(&bytes), Err(expected));
    }
}

#[test]
fn a_state_is_validated_against_format_and_size() {
    assert_eq!(SPLIT.validate(false, 4), Ok(()));
    let mismatch = Err(ConfigError::FormatMismatch { packed: true });
    assert_eq!(SPLIT.validate(true, 4), mismatch);
    assert_eq!(RingState::initial(true).validate(true, 4), Ok(()));
    let base = PACKED.vring_base();
    for size in [0, 4] {
        let expected = Err(ConfigError::BadPackedBase { base, size });
        assert_eq!(PACKED.validate(true, size), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Hostile bytes are refused, or are the encoding of what they decode to.
    #[test]
    fn any_bytes_are_refused_or_decoded_exactly(bytes in prop::collection::vec(0_u8..4, 0..12)) {
        if let Ok(state) = RingState::from_bytes(&bytes) {
            prop_assert_eq!(&state.to_bytes()[..], &bytes[..]);
        }
    }

    /// A vring base comes back as it was, and so does its state from bytes.
    #[test]
    fn any_base_of_a_packed_ring_survives(base: u32) {
        let state = RingState::from_vring_base(true, base).unwrap();
        prop_assert_eq!(state.vring_base(), base);
        prop_assert_eq!(RingState::from_bytes(&state.to_bytes()), Ok(state));
    }
}
