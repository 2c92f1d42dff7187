//! Counting what happened, under a lock that is held anyway.

use std::time::{Duration, Instant};

use crate::error::JobError;
use crate::histogram::Histogram;
use crate::stats::{Ended, Stats};

/// One in so many runs that start at once is measured: three looks at a clock would be a fifth of
/// the price of such a run.
const SAMPLE_BITS: u32 = 4;

/// What happened in one shard.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    ended: Ended,
    pub(crate) refused: u64,
    pub(crate) at_once: u64,
    pub(crate) wait: Histogram,
    lag: Histogram,
    pub(crate) run: Histogram,
}

impl Tally {
    pub(crate) fn count_ended(&mut self, error: &JobError, times: u64) {
        *of_error(&mut self.ended, error) += times;
    }

    pub(crate) fn count_completed(&mut self, times: u64) {
        self.ended.completed += times;
    }

    pub(crate) fn sampled(&mut self, lag: Duration, run: Duration) {
        self.lag.record(lag, 1 << SAMPLE_BITS);
        self.run.record(run, 1 << SAMPLE_BITS);
    }

    pub(crate) fn add_to(&self, stats: &mut Stats) {
        stats.ended.add(&self.ended);
        stats.refused += self.refused;
        stats.at_once += self.at_once;
        stats.wait.merge(&self.wait);
        stats.lag.merge(&self.lag);
        stats.run.merge(&self.run);
    }
}

/// The counter of jobs that ended with this error.
pub(crate) fn of_error<'a>(ended: &'a mut Ended, error: &JobError) -> &'a mut u64 {
    match error {
        JobError::Panicked { .. } => &mut ended.panicked,
        JobError::Cancelled | JobError::Deadlock(_) => &mut ended.cancelled,
        JobError::Expired => &mut ended.expired,
        JobError::Closed => &mut ended.closed,
    }
}

/// Whether a number is one in 2^`bits`. It is scattered first, so that work which comes in regular
/// patterns is not met always at the same spot.
pub(crate) fn is_one_in(bits: u32, number: u64) -> bool {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - bits) == 0
}

/// What has to be known of the start of some jobs that start at once: of those whose times are
/// measured, and of those with a deadline.
#[derive(Debug)]
pub(crate) struct Sample {
    submitted: Option<Instant>,
    started: Option<Instant>,
    deadline: Option<Instant>,
}

impl Sample {
    /// A sample if the job of this number is to be measured, or has a deadline.
    pub(crate) fn of(
        number: u64,
        deadline: Option<Instant>,
        now: impl FnOnce() -> Instant,
    ) -> Option<Box<Self>> {
        let measured = is_one_in(SAMPLE_BITS, number);
        (measured || deadline.is_some())
            .then(|| Box::new(Self { submitted: measured.then(now), started: None, deadline }))
    }

    /// The job gets to run. False if it may not, since this is the first time and too late.
    pub(crate) fn start(&mut self, now: impl FnOnce() -> Instant) -> bool {
        if self.started.is_some() {
            return true;
        }
        let now = now();
        let in_time = self.deadline.is_none_or(|deadline| now < deadline);
        self.started = in_time.then_some(now);
        in_time
    }

    /// From submission to start and from start to `now`; nothing if it is not measured or never
    /// started.
    pub(crate) fn times(&self, now: impl FnOnce() -> Instant) -> Option<(Duration, Duration)> {
        let (submitted, started) = (self.submitted?, self.started?);
        let lag = started.saturating_duration_since(submitted);
        Some((lag, now().saturating_duration_since(started)))
    }
}
