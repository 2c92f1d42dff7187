use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use stage_signal::Reason;

/// The longest time that is told apart from longer ones.
const LONGEST: Duration = Duration::from_secs(3600);

/// What the calls of a load have come to.
#[derive(Debug)]
pub(super) struct Tally {
    /// Of the calls that succeeded, and the least that those took which nobody saw succeed.
    took: Histogram<u64>,
    done: u64,
    /// Those of them that ended when the load was over.
    late: u64,
    failures: BTreeMap<&'static str, Failures>,
    /// Calls that were to begin and could not while the load lasted.
    pub(super) unsent: u64,
    /// Calls that had not ended when they were no longer waited for.
    pub(super) given_up: u64,
    /// How long the load lasted.
    pub(super) lasted: Duration,
}

/// The calls that failed for one reason.
#[derive(Debug)]
pub(super) struct Failures {
    pub(super) count: u64,
    /// What the first of them said.
    pub(super) first: String,
}

impl Tally {
    /// Times to the microsecond, with three digits.
    pub(super) fn new() -> Result<Self, hdrhistogram::CreationError> {
        let took = Histogram::new_with_bounds(1, micros(LONGEST), 3)?;
        let failures = BTreeMap::new();
        let lasted = Duration::ZERO;
        Ok(Self { took, done: 0, late: 0, failures, unsent: 0, given_up: 0, lasted })
    }

    /// A call has succeeded.
    pub(super) fn succeeds(&mut self, took: Duration) {
        self.done += 1;
        self.took.saturating_record(micros(took));
    }

    /// A call has succeeded that was waited for beyond the end of the load.
    pub(super) fn succeeds_late(&mut self, took: Duration) {
        self.succeeds(took);
        self.late += 1;
    }

    /// A call has failed after so long. One that ran out of time takes that long at least; another one says nothing
    /// of how long calls take, and least of all if it was refused at once.
    pub(super) fn fails(&mut self, reason: &'static str, why: &str, took: Duration) {
        let failures = self.failures.entry(reason);
        failures.or_insert_with(|| Failures { count: 0, first: why.to_owned() }).count += 1;
        if reason == Reason::Deadline.as_str() {
            self.took.saturating_record(micros(took));
        }
    }

    /// A call is no longer waited for, which was to begin so long ago: it takes that long at least.
    pub(super) fn gives_up(&mut self, waited: Duration) {
        self.given_up += 1;
        self.took.saturating_record(micros(waited));
    }

    /// A call could not begin, which was to begin so long ago: it takes that long at least.
    pub(super) fn leaves_unsent(&mut self, waited: Duration) {
        self.unsent += 1;
        self.took.saturating_record(micros(waited));
    }

    /// Calls that succeeded.
    pub(super) fn done(&self) -> u64 {
        self.done
    }

    /// Those of them that ended when the load was over.
    pub(super) fn late(&self) -> u64 {
        self.late
    }

    /// Calls that failed, by reason.
    pub(super) fn failures(&self) -> impl Iterator<Item = (&'static str, &Failures)> {
        self.failures.iter().map(|(reason, failures)| (*reason, failures))
    }

    pub(super) fn failed(&self) -> u64 {
        self.failures.values().map(|failures| failures.count).sum()
    }

    /// Calls that succeeded within a second of the load. What ended after it did not end in its seconds.
    pub(super) fn per_second(&self) -> f64 {
        (self.done - self.late) as f64 / self.lasted.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// The time that so many of a hundred calls took at most, in milliseconds.
    pub(super) fn percentile_ms(&self, percent: f64) -> f64 {
        self.took.value_at_percentile(percent) as f64 / 1000.0
    }

    pub(super) fn longest_ms(&self) -> f64 {
        self.took.max() as f64 / 1000.0
    }

    /// Forgets the times and keeps the counts of nothing.
    pub(super) fn clear(&mut self) {
        self.took.reset();
        self.done = 0;
        self.late = 0;
        self.failures.clear();
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_could_not_begin_count_as_slow_and_not_as_done() {
        let mut tally = Tally::new().unwrap();
        for _ in 0..90 {
            tally.succeeds(Duration::from_millis(1));
        }
        for _ in 0..10 {
            tally.leaves_unsent(Duration::from_secs(2));
        }
        assert_eq!((tally.done(), tally.unsent), (90, 10));
        assert!((tally.percentile_ms(50.0) - 1.0).abs() < 0.01);
        assert!((tally.percentile_ms(99.0) - 2000.0).abs() < 2.0);
    }

    #[test]
    fn failures_are_counted_by_reason_with_what_the_first_said() {
        let mut tally = Tally::new().unwrap();
        tally.fails("overloaded", "the mailbox is full", Duration::ZERO);
        tally.fails("overloaded", "another", Duration::ZERO);
        tally.fails("deadline", "too late", Duration::from_secs(5));
        let all: Vec<_> =
            tally.failures().map(|(reason, of)| (reason, of.count, &*of.first)).collect();
        assert_eq!(all, [("deadline", 1, "too late"), ("overloaded", 2, "the mailbox is full")]);
        assert_eq!((tally.failed(), tally.done()), (3, 0));
        // Of those, only the last says how long a call takes.
        assert!(tally.percentile_ms(1.0) > 4990.0);
    }

    #[test]
    fn a_time_beyond_all_bounds_is_the_longest() {
        let mut tally = Tally::new().unwrap();
        tally.succeeds(Duration::MAX);
        assert!(tally.longest_ms() >= 3_600_000.0);
    }
}
