//! The state of a ring between two device sides: where the next one continues.
//!
//! A device side that ends leaves its [`RingState`]; another one, perhaps in another process, starts from
//! it. vhost-user front ends carry it as the *vring base* of `GET_VRING_BASE` and `SET_VRING_BASE`
//! (vhost-user, "A vring descriptor index for split virtqueues" and "Vring descriptor indices for packed
//! virtqueues"). A split ring needs no used index there: it is in the used ring itself.

use crate::config::QueueConfig;
use crate::error::{ConfigError, StateError};
use crate::layout::MAX_QUEUE_SIZE;
use crate::layout::packed::Position;

/// Where a device side continues.
///
/// The state may come from a front end or from a file, so a queue checks it against its own format and
/// size before it starts ([`RingState::validate`]).
///
/// ```
/// use virtmesh_ring::RingState;
///
/// let state = RingState::from_vring_base(true, 0x8003_0001)?;
/// assert_eq!(state.vring_base(), 0x8003_0001);
/// assert_eq!(RingState::from_bytes(&state.to_bytes()), Ok(state));
/// # Ok::<(), virtmesh_ring::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RingState {
    /// Of a split ring.
    Split {
        /// Next index of the available ring to pop.
        next_avail: u16,
    },
    /// Of a packed ring.
    Packed {
        /// Next descriptor to pop.
        avail: Position,
        /// Next descriptor to use.
        used: Position,
    },
}

/// The available half of a [`RingState`], as an [`AvailConsumer`](crate::AvailConsumer) knows it.
///
/// [`UsedProducer::state`](crate::UsedProducer::state) adds the used half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AvailState {
    pub(crate) index: u16,
    /// False in a split ring.
    pub(crate) wrap: bool,
}

/// `FORMAT` of a split ring.
const SPLIT: u8 = 0;
/// `FORMAT` of a packed ring.
const PACKED: u8 = 1;
/// Bit of the flags: the wrap counter of the available position.
const AVAIL_WRAP: u8 = 1 << 0;
/// Bit of the flags: the wrap counter of the used position.
const USED_WRAP: u8 = 1 << 1;
/// Where the used position is in a vring base; the available one is at 0.
const VRING_BASE_USED_SHIFT: u32 = 16;

impl RingState {
    /// The version that [`to_bytes`](Self::to_bytes) writes and [`from_bytes`](Self::from_bytes) reads.
    pub const VERSION: u16 = 1;
    /// Bytes of an encoded state.
    pub const LENGTH: usize = 8;

    /// The state of a ring that its driver has just cleared.
    #[must_use]
    pub const fn initial(packed: bool) -> Self {
        if packed {
            Self::Packed {
                avail: Position::START,
                used: Position::START,
            }
        } else {
            Self::Split { next_avail: 0 }
        }
    }

    /// True for the state of a packed ring.
    #[must_use]
    pub const fn is_packed(&self) -> bool {
        matches!(self, Self::Packed { .. })
    }

    /// Next index to pop.
    #[must_use]
    pub const fn next_avail(&self) -> u16 {
        match self {
            Self::Split { next_avail } => *next_avail,
            Self::Packed { avail, .. } => avail.index,
        }
    }

    /// Next index to use. None for a split ring, whose used index is in the ring itself.
    #[must_use]
    pub const fn next_used(&self) -> Option<u16> {
        match self {
            Self::Split { .. } => None,
            Self::Packed { used, .. } => Some(used.index),
        }
    }

    /// Wrap counter of the next index to pop. None for a split ring.
    #[must_use]
    pub const fn avail_wrap(&self) -> Option<bool> {
        match self {
            Self::Split { .. } => None,
            Self::Packed { avail, .. } => Some(avail.wrap),
        }
    }

    /// Wrap counter of the next index to use. None for a split ring.
    #[must_use]
    pub const fn used_wrap(&self) -> Option<bool> {
        match self {
            Self::Split { .. } => None,
            Self::Packed { used, .. } => Some(used.wrap),
        }
    }

    /// Encode as the vring base of vhost-user. Split ring: the next available index in bits 0 to 15, the
    /// others 0. Packed ring: the next available index in bits 0 to 14, its wrap counter in bit 15, and
    /// the same of the next used index in bits 16 to 31.
    #[must_use]
    pub fn vring_base(&self) -> u32 {
        match self {
            Self::Split { next_avail } => u32::from(*next_avail),
            Self::Packed { avail, used } => {
                u32::from(avail.to_bits()) | u32::from(used.to_bits()) << VRING_BASE_USED_SHIFT
            }
        }
    }

    /// Decode a vring base of vhost-user.
    ///
    /// # Errors
    /// `BadBase`: the base of a split ring has more than 16 bits.
    pub fn from_vring_base(packed: bool, base: u32) -> Result<Self, ConfigError> {
        if !packed {
            let next_avail = u16::try_from(base).map_err(|_| ConfigError::BadBase { base })?;
            return Ok(Self::Split { next_avail });
        }
        let [a0, a1, u0, u1] = base.to_le_bytes();
        Ok(Self::Packed {
            avail: Position::decode(u16::from_le_bytes([a0, a1])),
            used: Position::decode(u16::from_le_bytes([u0, u1])),
        })
    }

    /// Check that a ring of this format and size can continue from this state.
    ///
    /// # Errors
    /// `FormatMismatch`; `BadPackedBase`: a position is outside the ring, or the two are more than one
    /// lap apart.
    pub fn validate(&self, packed: bool, size: u16) -> Result<(), ConfigError> {
        if self.is_packed() != packed {
            return Err(ConfigError::FormatMismatch { packed });
        }
        if let Self::Packed { avail, used } = *self {
            PackedStart::new(avail, used, size)?;
        }
        Ok(())
    }

    /// Encode as bytes: `le16 version, u8 format, u8 wrap counters, le16 next_avail, le16 next_used`.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LENGTH] {
        let bit = |wrap: Option<bool>, bit| if wrap == Some(true) { bit } else { 0 };
        let format = if self.is_packed() { PACKED } else { SPLIT };
        let flags = bit(self.avail_wrap(), AVAIL_WRAP) | bit(self.used_wrap(), USED_WRAP);
        let [v0, v1] = Self::VERSION.to_le_bytes();
        let [a0, a1] = self.next_avail().to_le_bytes();
        let [u0, u1] = self.next_used().unwrap_or(0).to_le_bytes();
        [v0, v1, format, flags, a0, a1, u0, u1]
    }

    /// Decode what [`to_bytes`](Self::to_bytes) wrote. Accepts any bytes.
    ///
    /// # Errors
    /// Every variant of [`StateError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        let actual = bytes.len();
        let Ok([v0, v1, format, flags, a0, a1, u0, u1]) = <[u8; Self::LENGTH]>::try_from(bytes)
        else {
            return Err(StateError::BadLength {
                actual,
                expected: Self::LENGTH,
            });
        };
        let version = u16::from_le_bytes([v0, v1]);
        if version != Self::VERSION {
            return Err(StateError::UnknownVersion {
                version,
                known: Self::VERSION,
            });
        }
        let next_avail = u16::from_le_bytes([a0, a1]);
        let next_used = u16::from_le_bytes([u0, u1]);
        match format {
            SPLIT => {
                refuse_bits("wrap counters", flags.into())?;
                refuse_bits("next_used", next_used)?;
                Ok(Self::Split { next_avail })
            }
            PACKED => {
                refuse_bits("wrap counters", (flags & !(AVAIL_WRAP | USED_WRAP)).into())?;
                Ok(Self::Packed {
                    avail: position("next_avail", next_avail, flags & AVAIL_WRAP != 0)?,
                    used: position("next_used", next_used, flags & USED_WRAP != 0)?,
                })
            }
            _ => Err(StateError::UnknownFormat { format }),
        }
    }
}

fn refuse_bits(field: &'static str, value: u16) -> Result<(), StateError> {
    match value {
        0 => Ok(()),
        _ => Err(StateError::ReservedBits { field, value }),
    }
}

fn position(field: &'static str, index: u16, wrap: bool) -> Result<Position, StateError> {
    if index < MAX_QUEUE_SIZE {
        Ok(Position { index, wrap })
    } else {
        Err(StateError::IndexOutOfRange { field, index })
    }
}

/// Where the device side of a packed queue starts: a checked state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PackedStart {
    /// Next entry to pop.
    pub(crate) avail: Position,
    /// Next entry to use.
    pub(crate) used: Position,
    /// Entries between them: of chains that an earlier device side popped and did not push.
    pub(crate) in_flight: u16,
}

impl PackedStart {
    /// The start of a packed queue; of a cleared ring if the configuration has no state.
    pub(crate) fn from_config(config: &QueueConfig) -> Result<Self, ConfigError> {
        match config.state.unwrap_or(RingState::initial(true)) {
            RingState::Packed { avail, used } => Self::new(avail, used, config.size),
            RingState::Split { .. } => Err(ConfigError::FormatMismatch { packed: true }),
        }
    }

    fn new(avail: Position, used: Position, size: u16) -> Result<Self, ConfigError> {
        let refusal = || ConfigError::BadPackedBase {
            base: RingState::Packed { avail, used }.vring_base(),
            size,
        };
        if avail.index >= size || used.index >= size {
            return Err(refusal());
        }
        let in_flight = u16::try_from(avail.since(used, size))
            .ok()
            .filter(|count| *count <= size)
            .ok_or_else(refusal)?;
        Ok(Self {
            avail,
            used,
            in_flight,
        })
    }
}

/// Where the device side of a split queue starts: the next entry of the available ring to pop.
pub(crate) fn split_start(config: &QueueConfig) -> Result<u16, ConfigError> {
    match config.state.unwrap_or(RingState::initial(false)) {
        RingState::Split { next_avail } => Ok(next_avail),
        RingState::Packed { .. } => Err(ConfigError::FormatMismatch { packed: false }),
    }
}
