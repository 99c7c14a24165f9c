//! How long a fault delays what it takes.

use std::time::Duration;

/// Longest delay: 10 minutes, in microseconds.
pub const DELAY_MAX_US: u64 = 600_000_000;
/// A random number has this many bits of a fraction of an `f64`.
const FRACTION_BITS: u32 = 53;

/// A distribution of delays. No draw is above [`DELAY_MAX_US`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delay {
    /// Each as likely, from the first to the second, in microseconds.
    Uniform(u64, u64),
    /// Exponential, with this mean in microseconds: mostly short, rarely very long.
    Exponential(u64),
}

impl Delay {
    /// The delay that a random number stands for.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most 10 minutes, and never negative"
    )]
    pub fn draw(self, random: u64) -> Duration {
        let share =
            (random >> (u64::BITS - FRACTION_BITS)) as f64 / (1_u64 << FRACTION_BITS) as f64;
        let micros = match self {
            Self::Uniform(low, high) => {
                low.saturating_add((high.saturating_sub(low) as f64 * share) as u64)
            }
            // `share` is below 1, so the logarithm is finite.
            Self::Exponential(mean) => (mean as f64 * -(1.0 - share).ln()) as u64,
        };
        Duration::from_micros(micros.min(DELAY_MAX_US))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::random::draw;

    fn draws(delay: Delay) -> Vec<u64> {
        let micros = |index| delay.draw(draw(3, index)).as_micros();
        (0..10_000)
            .map(|index| u64::try_from(micros(index)).unwrap())
            .collect()
    }

    fn mean(draws: &[u64]) -> u64 {
        draws.iter().sum::<u64>() / draws.len() as u64
    }

    #[test]
    fn a_uniform_delay_stays_in_its_range_and_fills_it() {
        let found = draws(Delay::Uniform(1000, 3000));
        assert!(found.iter().all(|one| (1000..=3000).contains(one)));
        assert!((1950..2050).contains(&mean(&found)));
        assert!(draws(Delay::Uniform(7, 7)).iter().all(|one| *one == 7));
    }

    #[test]
    fn an_exponential_delay_has_its_mean_and_a_long_tail() {
        let found = draws(Delay::Exponential(1000));
        assert!((950..1050).contains(&mean(&found)), "{}", mean(&found));
        assert!(found.iter().any(|one| *one > 5000));
        let below = found.iter().filter(|one| **one < 693).count();
        assert!((4800..5200).contains(&below), "{below}");
    }

    #[test]
    fn no_delay_is_longer_than_the_longest() {
        let longest = Delay::Exponential(u64::MAX).draw(u64::MAX);
        assert_eq!(longest, Duration::from_micros(DELAY_MAX_US));
    }
}
