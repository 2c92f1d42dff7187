//! A histogram of durations that costs an addition.

use std::time::Duration;

/// Buckets per doubling, as a power of two: a bucket is at most a quarter of its value wide.
const FINE_BITS: u32 = 2;
const FINE: usize = 1 << FINE_BITS;
/// Values from 2^43 ns (2.4 hours) on share the last bucket.
const TOP_BIT: u32 = 43;
const BUCKETS: usize = (TOP_BIT - FINE_BITS + 1) as usize * FINE;

/// Counts of durations in logarithmic buckets, from nanoseconds to hours, four to a doubling
/// (the log-linear layout of HdrHistogram). Quantiles are right within a quarter of the value.
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    buckets: Box<[u64; BUCKETS]>,
    count: u64,
    sum: Duration,
    max: Duration,
}

impl Histogram {
    /// Counts `value` `times` times. Constant time, no allocation.
    pub fn record(&mut self, value: Duration, times: u64) {
        // In 64 bits: a span of 584 years goes to the last bucket with all that are long.
        let nanos = value.as_secs().saturating_mul(1_000_000_000);
        let nanos = nanos.saturating_add(u64::from(value.subsec_nanos()));
        if let Some(bucket) = self.buckets.get_mut(index(nanos)) {
            *bucket += times;
        }
        self.count += times;
        let scale = u32::try_from(times).unwrap_or(u32::MAX);
        let sum = if scale == 1 { value } else { value.saturating_mul(scale) };
        self.sum = self.sum.saturating_add(sum);
        self.max = self.max.max(value);
    }

    /// Adds what `other` has counted.
    pub fn merge(&mut self, other: &Self) {
        for (ours, theirs) in self.buckets.iter_mut().zip(other.buckets.iter()) {
            *ours += theirs;
        }
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
        self.max = self.max.max(other.max);
    }

    /// How many values were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The sum of the values.
    #[must_use]
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// The greatest value, exactly.
    #[must_use]
    pub fn max(&self) -> Duration {
        self.max
    }

    /// The average, zero if nothing was counted.
    #[must_use]
    pub fn mean(&self) -> Duration {
        let nanos = self.sum.as_nanos() / u128::from(self.count.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The least duration that a share `q` (0 to 1) of the values does not exceed, rounded up to
    /// its bucket's end; zero if nothing was counted.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Duration {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let rank = ((q.clamp(0.0, 1.0) * self.count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(end(index)).min(self.max);
            }
        }
        self.max
    }

    /// The end of each bucket that counted something, with its count; ascending.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        let counted = self.buckets.iter().enumerate().filter(|(_, count)| **count > 0);
        counted.map(|(index, count)| (Duration::from_nanos(end(index)), *count))
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: Box::new([0; BUCKETS]), count: 0, sum: Duration::ZERO, max: Duration::ZERO }
    }
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Histogram")
            .field("count", &self.count)
            .field("mean", &self.mean())
            .field("p99", &self.quantile(0.99))
            .field("max", &self.max)
            .finish()
    }
}

/// Which bucket counts `nanos`.
fn index(nanos: u64) -> usize {
    let top = 63 - (nanos | 1).leading_zeros();
    if top < FINE_BITS {
        return usize::try_from(nanos).unwrap_or(0);
    }
    let fine = usize::try_from(nanos >> (top - FINE_BITS)).unwrap_or(0) & (FINE - 1);
    ((top - FINE_BITS + 1) as usize * FINE + fine).min(BUCKETS - 1)
}

/// The greatest value that the bucket counts.
fn end(index: usize) -> u64 {
    if index < FINE {
        return index as u64;
    }
    let shift = index / FINE - 1;
    (((FINE + index % FINE + 1) as u64) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_the_bucket_that_counts_it() {
        for nanos in (0..5000).chain([1 << 20, (1 << 20) + 1, 987_654_321, 1 << 42]) {
            let at = index(nanos);
            assert!(nanos <= end(at), "{nanos} is past its bucket");
            assert!(at == 0 || nanos > end(at - 1), "{nanos} belongs to an earlier bucket");
        }
    }

    #[test]
    fn a_quantile_is_right_within_a_quarter() {
        let mut histogram = Histogram::default();
        for micros in 1..=1000 {
            histogram.record(Duration::from_micros(micros), 1);
        }
        for (q, exact) in [(0.5, 500.0), (0.9, 900.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = histogram.quantile(q).as_secs_f64() * 1e6;
            assert!((exact..exact * 1.25).contains(&found), "quantile {q} is {found}");
        }
        assert_eq!(histogram.max(), Duration::from_millis(1));
    }

    #[test]
    fn a_merge_counts_what_both_counted() {
        let mut left = Histogram::default();
        left.record(Duration::from_micros(10), 3);
        let mut right = Histogram::default();
        right.record(Duration::from_secs(100_000), 1);
        left.merge(&right);
        assert_eq!(left.count(), 4);
        assert_eq!(left.buckets().map(|(_, count)| count).sum::<u64>(), 4);
        assert_eq!(left.max(), Duration::from_secs(100_000));
    }
}
