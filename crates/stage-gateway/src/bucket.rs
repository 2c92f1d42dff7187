//! A token bucket: how often somebody may do something.

use std::time::Duration;

/// Nanoseconds of one second.
const SECOND: u64 = 1_000_000_000;

/// Lets `rate` through per second, and as many at once after a quiet second.
///
/// Kept as the time until which the rate is used up, in whole nanoseconds: nothing drifts.
#[derive(Clone, Debug)]
pub struct Bucket {
    cost: u64,
    used_up_to: u64,
}

impl Bucket {
    /// A full bucket of at least one per second.
    #[must_use]
    pub fn new(rate: u32) -> Self {
        Self { cost: SECOND / u64::from(rate.max(1)), used_up_to: 0 }
    }

    /// Takes one, at a time since the start. O(1).
    ///
    /// # Errors
    /// How long to wait until there is one.
    pub fn take(&mut self, now: Duration) -> Result<(), Duration> {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let used = self.used_up_to.max(now).saturating_add(self.cost);
        let full = now.saturating_add(SECOND);
        if used > full {
            return Err(Duration::from_nanos(used - full));
        }
        self.used_up_to = used;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_full_bucket_gives_one_second_at_once_and_says_when_the_next_is_there() {
        let mut bucket = Bucket::new(4);
        let now = Duration::from_secs(9);
        assert_eq!((0..4).filter(|_| bucket.take(now).is_ok()).count(), 4);
        assert_eq!(bucket.take(now), Err(Duration::from_millis(250)));
        assert_eq!(bucket.take(now + Duration::from_millis(250)), Ok(()));
        assert!(bucket.take(now + Duration::from_millis(250)).is_err());
    }

    proptest! {
        #[test]
        fn no_history_gets_more_than_the_rate_and_a_burst(
            rate in 1_u32..50,
            steps in prop::collection::vec(0_u64..200, 1..200),
        ) {
            let mut bucket = Bucket::new(rate);
            let (mut now, mut given) = (Duration::ZERO, 0);
            for step in steps {
                now += Duration::from_millis(step);
                match bucket.take(now) {
                    Ok(()) => given += 1,
                    // Who waits as told is served.
                    Err(wait) => prop_assert_eq!(bucket.clone().take(now + wait), Ok(())),
                }
            }
            let most = f64::from(rate) * (now.as_secs_f64() + 1.0);
            prop_assert!(f64::from(given) <= most + 0.01, "{} of {}", given, most);
        }
    }
}
