//! Counts of latencies, in buckets that get wider as latencies get longer.

use std::fmt::Write;

/// Buckets of each power of two: a bucket is at most 1/32 wide of what it holds.
const STEPS: u64 = 32;
const BUCKETS: usize = 64 * 32;

/// Latencies in nanoseconds.
pub struct Histogram {
    counts: Vec<u64>,
    count: u64,
    max: u64,
}

impl Histogram {
    pub fn new() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            count: 0,
            max: 0,
        }
    }

    pub fn add(&mut self, nanoseconds: u64) {
        self.counts[bucket_of(nanoseconds)] += 1;
        self.count += 1;
        self.max = self.max.max(nanoseconds);
    }

    /// The upper end of the bucket that holds the given share of all latencies, in nanoseconds.
    pub fn percentile(&self, percent: f64) -> u64 {
        let wanted = (self.count as f64 * percent / 100.0).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return end_of(bucket).min(self.max);
            }
        }
        self.max
    }

    pub fn max(&self) -> u64 {
        self.max
    }

    /// All buckets that hold something, as JSON: `[[end in ns, count], ...]`.
    pub fn to_json(&self) -> String {
        let mut text = String::from("[");
        for (bucket, count) in self.counts.iter().enumerate() {
            if *count > 0 {
                let comma = if text.len() > 1 { ", " } else { "" };
                // Writing to a string does not fail.
                let _ = write!(text, "{comma}[{}, {count}]", end_of(bucket));
            }
        }
        text + "]"
    }
}

/// Where a latency is counted.
fn bucket_of(nanoseconds: u64) -> usize {
    if nanoseconds < 2 * STEPS {
        return nanoseconds as usize;
    }
    let shift = nanoseconds.ilog2() - STEPS.ilog2();
    (u64::from(shift) * STEPS + (nanoseconds >> shift)) as usize
}

/// The first latency above a bucket.
fn end_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * STEPS {
        return bucket + 1;
    }
    let shift = bucket / STEPS - 1;
    (bucket - shift * STEPS + 1) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_is_below_the_end_of_its_bucket_and_not_far_below() {
        for exponent in 0..40 {
            for nanoseconds in [1 << exponent, (1 << exponent) + 1, (2 << exponent) - 1] {
                let end = end_of(bucket_of(nanoseconds));
                assert!(nanoseconds < end, "{nanoseconds} {end}");
                assert!(
                    end - nanoseconds <= 1 + nanoseconds / STEPS,
                    "{nanoseconds} {end}"
                );
            }
        }
    }

    #[test]
    fn percentiles_are_those_of_what_was_added() {
        let mut histogram = Histogram::new();
        for nanoseconds in 1..=1000 {
            histogram.add(nanoseconds);
        }

        let half = histogram.percentile(50.0);

        assert!((500..=516).contains(&half), "{half}");
        assert_eq!(histogram.percentile(100.0), 1000);
    }
}
