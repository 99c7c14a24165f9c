//! One fault: what it does, which events it is about, and which of them it takes.

use crate::faults::delay::Delay;
use crate::faults::random::draw;

/// Define [`FaultKind`] from one list.
macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        /// What a fault does. The numbers are those of `virtmesh.fault.v1.FaultKind`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum FaultKind {
            $($(#[$doc])* $name = $number,)*
        }

        impl FaultKind {
            /// The kind of a number.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    /// A request fails, and is not executed.
    IoError = 1,
    /// A request is executed later.
    Delay = 2,
    /// A request is not executed until the fault is taken back.
    Hang = 3,
    /// Only the beginning of a write is written.
    TornWrite = 4,
    /// Bytes of a write are changed.
    CorruptWrite = 5,
    /// An interrupt is not raised.
    LostInterrupt = 6,
    /// An interrupt is raised later.
    LateInterrupt = 7,
    /// An interrupt is raised twice.
    DoubleInterrupt = 8,
    /// An interrupt is raised without a reason.
    SpuriousInterrupt = 9,
    /// A notification of the driver is not heard.
    LostNotification = 10,
    /// A queue is not looked at any more.
    StuckQueue = 11,
    /// The device asks for a reset.
    NeedsReset = 12,
    /// The device says that its configuration has changed.
    ConfigChange = 13,
    /// A chain is given back with a wrong length.
    WrongLength = 14,
    /// A chain is given back as another one.
    WrongId = 15,
    /// The process of the device is killed.
    Kill = 16,
    /// The process of the device is stopped.
    Stop = 17,
    /// An input packet does not reach the driver.
    DroppedPacket = 18,
    /// An input packet reaches the driver twice.
    DoubledPacket = 19,
    /// An input packet reaches the driver after the next one.
    SwappedPacket = 20,
    /// A received character is lost, as in an overrun.
    Overrun = 21,
    /// A received character has a parity error.
    ParityError = 22,
    /// A received character has a framing error.
    FramingError = 23,
    /// A received character is a break.
    Break = 24,
    /// A bit on the line is turned over.
    Noise = 25,
    /// What is drawn is not shown.
    StuckDisplay = 26,
    /// A flush completes, and nothing is made durable.
    LostFlush = 27,
}

impl FaultKind {
    /// The bit of the kind in a set of kinds.
    #[must_use]
    pub const fn bit(self) -> u64 {
        1 << self as u8
    }
}

/// Which events a fault is about. What is absent is not looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// The queue.
    pub queue: Option<u8>,
    /// Types of requests, as bits by their number; 0 for all.
    pub types: u32,
    /// First and last sector: a request that touches one of them.
    pub sectors: Option<(u64, u64)>,
}

/// An event that a fault may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct About {
    /// The queue.
    pub queue: u8,
    /// The head of the chain.
    pub token: u32,
    /// Number of the type of the request.
    pub request_type: u8,
    /// First sector, and how many; None for a request that is about none.
    pub sectors: Option<(u64, u64)>,
}

impl Scope {
    /// True for an event that the fault is about.
    #[must_use]
    pub fn covers(&self, about: &About) -> bool {
        let of_type = 1_u32.checked_shl(about.request_type.into()).unwrap_or(0);
        self.queue.is_none_or(|queue| queue == about.queue)
            && (self.types == 0 || self.types & of_type != 0)
            && self.sectors.is_none_or(|(first, last)| {
                about.sectors.is_some_and(|(start, count)| {
                    count > 0 && start <= last && start.saturating_add(count - 1) >= first
                })
            })
    }
}

/// Which of the events that a fault is about it takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Trigger {
    /// So many are let pass first.
    pub after: u64,
    /// Then it is the turn of each of this number; at least 1.
    pub every: u64,
    /// How likely it takes one whose turn it is: 0 to 1.
    pub probability: f64,
    /// Most that it takes; 0 for any number.
    pub limit: u64,
    /// What the random numbers come from.
    pub seed: u64,
}

/// Chance is compared with this many random bits: the bits of the fraction of an `f64`.
const CHANCE_BITS: u32 = 53;

impl Trigger {
    /// True if it takes event `index`, counted from 0, of those that the fault is about.
    #[must_use]
    pub fn takes(&self, index: u64) -> bool {
        let Some(turn) = index.checked_sub(self.after) else {
            return false;
        };
        // The last of each group, so that "each third" begins with the third.
        (turn + 1).is_multiple_of(self.every.max(1)) && self.chance(index)
    }

    /// A random number of the event, other than the one that decided whether it is taken.
    #[must_use]
    pub const fn draw(&self, index: u64) -> u64 {
        draw(!self.seed, index)
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "53 bits are what a float has room for"
    )]
    fn chance(&self, index: u64) -> bool {
        let random = draw(self.seed, index) >> (u64::BITS - CHANCE_BITS);
        (random as f64) < self.probability * (1_u64 << CHANCE_BITS) as f64
    }
}

/// A fault, as it was ordered.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// What it does.
    pub kind: FaultKind,
    /// Which events it is about.
    pub scope: Scope,
    /// Which of them it takes.
    pub trigger: Trigger,
    /// How long it delays what it takes.
    pub delay: Option<Delay>,
    /// How many bytes it is about.
    pub bytes: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trigger() -> Trigger {
        Trigger {
            after: 0,
            every: 1,
            probability: 1.0,
            limit: 0,
            seed: 7,
        }
    }

    fn taken(trigger: &Trigger, count: u64) -> Vec<u64> {
        (0..count).filter(|index| trigger.takes(*index)).collect()
    }

    #[test]
    fn each_third_after_four_begins_with_the_seventh() {
        let trigger = Trigger {
            after: 4,
            every: 3,
            ..trigger()
        };
        assert_eq!(taken(&trigger, 14), [6, 9, 12]);
    }

    #[test]
    fn a_probability_takes_about_that_part_and_the_same_one_each_time() {
        let trigger = Trigger {
            probability: 0.25,
            ..trigger()
        };
        let first = taken(&trigger, 10_000);
        assert!((2300..2700).contains(&first.len()), "{}", first.len());
        assert_eq!(taken(&trigger, 10_000), first);
        let other = Trigger { seed: 8, ..trigger };
        assert_ne!(taken(&other, 10_000), first);
    }

    #[test]
    fn probabilities_0_and_1_are_certain() {
        let never = Trigger {
            probability: 0.0,
            ..trigger()
        };
        assert!(taken(&never, 1000).is_empty());
        assert_eq!(taken(&trigger(), 1000).len(), 1000);
    }

    #[test]
    fn a_range_of_sectors_is_touched_at_either_end() {
        let scope = Scope {
            sectors: Some((10, 19)),
            ..Scope::default()
        };
        let covers = |sectors| {
            scope.covers(&About {
                sectors,
                ..About::default()
            })
        };
        assert!(covers(Some((2, 9))) && covers(Some((19, 1))) && covers(Some((0, u64::MAX))));
        assert!(!covers(Some((2, 8))) && !covers(Some((20, 1))) && !covers(Some((12, 0))));
        assert!(!covers(None));
    }

    #[test]
    fn types_are_bits_and_a_large_one_is_in_no_set() {
        let scope = Scope {
            types: 0b10,
            ..Scope::default()
        };
        let covers = |request_type| {
            scope.covers(&About {
                request_type,
                ..About::default()
            })
        };
        assert_eq!([0, 1, 2, 127].map(covers), [false, true, false, false]);
    }
}
