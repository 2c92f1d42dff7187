use std::time::Duration;

/// What one message costs this machine when it is calm: the node's execution interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Baseline {
    seconds: f64,
    /// Samples taken so far, up to [`WARM_UP`].
    samples: u32,
    /// What calm windows in a row have seen that is not yet a sample.
    busy: Duration,
    messages: u64,
}

/// Weight of a new sample.
const GAIN: f64 = 1.0 / 32.0;

/// The first samples are averaged, which ends at the weight above. The seed is a guess at what handlers
/// cost: at 2 % a window, a node of slow handlers would take half a minute to see that it was wrong.
const WARM_UP: u32 = 32;

/// With that many samples the baseline is the node's own.
const OWN: u32 = 4;

/// The most a later sample moves the baseline, as a share of it.
const SLEW: f64 = 0.02;

/// Fewer messages say nothing about what one costs. Slow handlers end that many in several windows.
const LEAST_MESSAGES: u64 = 5;

impl Baseline {
    pub(crate) fn new(seed: Duration) -> Self {
        let seconds = seed.as_secs_f64().max(1e-9);
        Self { seconds, samples: 0, busy: Duration::ZERO, messages: 0 }
    }

    pub(crate) fn cost(&self) -> Duration {
        Duration::try_from_secs_f64(self.seconds).unwrap_or(Duration::MAX)
    }

    /// Whether it was learned from messages of this node, and is not the seed.
    pub(crate) fn is_own(&self) -> bool {
        self.samples >= OWN
    }

    /// Learns from a window that the caller trusts to be calm.
    pub(crate) fn learn(&mut self, busy: Duration, messages: u64) {
        self.busy = self.busy.saturating_add(busy);
        self.messages = self.messages.saturating_add(messages);
        if self.messages < LEAST_MESSAGES {
            return;
        }
        let sample = self.busy.as_secs_f64() / self.messages as f64;
        self.forget_window();
        let step = if self.samples < WARM_UP {
            self.samples += 1;
            (sample - self.seconds) / f64::from(self.samples)
        } else {
            let most = self.seconds * SLEW;
            ((sample - self.seconds) * GAIN).clamp(-most, most)
        };
        self.seconds = (self.seconds + step).max(1e-9);
    }

    /// A window that is not calm ends the row of those that were.
    pub(crate) fn forget_window(&mut self) {
        self.busy = Duration::ZERO;
        self.messages = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    fn learned(samples: u32, each: Duration) -> Baseline {
        let mut baseline = Baseline::new(MILLISECOND);
        (0..samples).for_each(|_| baseline.learn(each * 5, 5));
        baseline
    }

    #[test]
    fn a_wrong_seed_is_gone_with_the_first_sample() {
        assert_eq!(learned(1, 30 * MILLISECOND).cost(), 30 * MILLISECOND);
        assert!(!learned(3, 30 * MILLISECOND).is_own());
        assert!(learned(4, 30 * MILLISECOND).is_own());
    }

    #[test]
    fn one_odd_sample_among_the_first_counts_as_one_of_them() {
        let mut baseline = learned(9, 10 * MILLISECOND);
        baseline.learn(5 * 110 * MILLISECOND, 5);
        assert_eq!(baseline.cost().as_millis(), 20);
    }

    #[test]
    fn a_baseline_that_is_learned_moves_by_two_percent_at_most() {
        let mut baseline = learned(WARM_UP, 10 * MILLISECOND);
        baseline.learn(5 * Duration::from_secs(1), 5);
        assert_eq!(baseline.cost().as_micros(), 10_200);
        baseline.learn(Duration::ZERO, 5);
        assert_eq!(baseline.cost().as_micros(), 9_996);
    }

    #[test]
    fn slow_handlers_are_learned_from_several_calm_windows() {
        let mut baseline = Baseline::new(MILLISECOND);
        baseline.learn(90 * MILLISECOND, 3);
        assert_eq!(baseline.cost(), MILLISECOND);
        baseline.learn(60 * MILLISECOND, 2);
        assert_eq!(baseline.cost(), 30 * MILLISECOND);
    }

    #[test]
    fn calm_windows_apart_make_no_sample() {
        let mut baseline = Baseline::new(MILLISECOND);
        baseline.learn(90 * MILLISECOND, 3);
        baseline.forget_window();
        baseline.learn(60 * MILLISECOND, 2);
        assert_eq!(baseline.cost(), MILLISECOND);
    }
}
