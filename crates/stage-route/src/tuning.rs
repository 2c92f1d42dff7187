use std::time::Duration;

use crate::ConfigError;

/// Every constant of the controller. The defaults are what the simulations support; change one
/// only with a measurement in hand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tuning {
    /// The threshold, in baseline costs of one message.
    pub sensitivity: f64,
    /// Windows over the threshold, less those under it, before a node asks to leave. 1 to 1000.
    pub patience: u32,
    /// The delay, in thresholds, past which a node asks to leave; under it the node is held and sheds. 1 to 1000.
    pub severe: f64,
    /// Whether a node asks to leave only while its queues get no shorter; those that do will be short by themselves.
    pub rising: bool,
    /// The share of nodes that stay joined, rounded up. 0 to 1.
    pub floor: f64,
    /// The busy share up to which the others may be filled by what a leaving node no longer
    /// takes. More than 1 ignores whether they can carry it. 0 to 1000.
    pub fill: f64,
    /// How far apart two nodes leave: two rounds of gossip. Up to a minute.
    pub apart: Duration,
    /// The longest time to finish what was accepted. Up to a minute.
    pub drain: Duration,
    /// The first time away. Up to an hour.
    pub hold: Duration,
    /// The longest time away, before spreading. Up to an hour.
    pub hold_longest: Duration,
    /// How far the time away is spread by chance to each side, as a share of it. 0 to 1.
    pub jitter: f64,
    /// The share of others' work that probing starts with; 1 takes all at once. 0.001 to 1.
    pub probe_start: f64,
    /// The share of others' work that is never shed; 1 sheds nothing. 0.001 to 1.
    pub credit_floor: f64,
    /// A message of a peer that has waited for more thresholds than this is refused where it would
    /// be started. 1 to 1e9.
    pub late: f64,
    /// Time joined that makes up for one earlier leave. Up to a day.
    pub forgive: Duration,
    /// Whether the baseline is learned in calm windows, or stays as the calibration found it.
    pub learn: bool,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            sensitivity: 8.0,
            patience: 10,
            severe: 3.0,
            rising: true,
            floor: 0.5,
            fill: 0.9,
            apart: Duration::from_millis(200),
            drain: Duration::from_secs(1),
            hold: Duration::from_secs(2),
            hold_longest: Duration::from_secs(32),
            jitter: 0.25,
            probe_start: 1.0 / 16.0,
            credit_floor: 0.02,
            late: 2.0,
            forgive: Duration::from_secs(30),
            learn: true,
        }
    }
}

impl Tuning {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let ranges = [
            ("patience", f64::from(self.patience), 1.0, 1000.0),
            ("severe", self.severe, 1.0, 1000.0),
            ("floor", self.floor, 0.0, 1.0),
            ("fill", self.fill, 0.0, 1000.0),
            ("apart", self.apart.as_secs_f64(), 0.0, 60.0),
            ("drain", self.drain.as_secs_f64(), 0.0, 60.0),
            ("hold", self.hold.as_secs_f64(), 0.0, 3600.0),
            ("hold_longest", self.hold_longest.as_secs_f64(), 0.0, 3600.0),
            ("jitter", self.jitter, 0.0, 1.0),
            ("probe_start", self.probe_start, 0.001, 1.0),
            ("credit_floor", self.credit_floor, 0.001, 1.0),
            ("late", self.late, 1.0, 1e9),
            ("forgive", self.forgive.as_secs_f64(), 0.0, 86_400.0),
        ];
        for (field, given, least, most) in ranges {
            // Not written as `given < least`, which lets NaN pass.
            if !(least..=most).contains(&given) {
                return Err(ConfigError::Tuning { field, given, least, most });
            }
        }
        Ok(())
    }

    /// The time away after so many failures. `random` from 0 to 1 spreads it.
    pub(crate) fn away(&self, failures: u32, random: f64) -> Duration {
        let doubled = self.hold.saturating_mul(1 << failures.saturating_sub(1).min(16));
        let spread = 1.0 + self.jitter * (2.0 * random.clamp(0.0, 1.0) - 1.0);
        doubled.min(self.hold_longest).mul_f64(spread)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_failure_makes_the_time_away_shorter(
            hold in 0u64..100_000,
            longest in 0u64..1_000_000,
            jitter in 0.0f64..=1.0,
            random in 0.0f64..=1.0,
        ) {
            let tuning = Tuning {
                hold: Duration::from_millis(hold),
                hold_longest: Duration::from_millis(longest),
                jitter,
                ..Tuning::default()
            };
            let times: Vec<_> = (0..40).map(|failures| tuning.away(failures, random)).collect();
            prop_assert!(times.is_sorted(), "{times:?}");
        }
    }

    #[test]
    fn the_time_away_grows_with_every_failure_up_to_its_cap() {
        let tuning = Tuning::default();
        for random in [0.0, 0.3, 1.0] {
            let times: Vec<_> = (1..40).map(|failures| tuning.away(failures, random)).collect();
            assert!(times.is_sorted(), "{times:?}");
            assert!(times[4] > times[0] * 15, "{times:?}");
        }
        assert_eq!(tuning.away(1, 0.5), Duration::from_secs(2));
        assert_eq!(tuning.away(1, 0.0), Duration::from_millis(1500));
        assert_eq!(tuning.away(30, 1.0), Duration::from_secs(40));
    }

    #[test]
    fn a_field_out_of_its_range_is_named() {
        let bad = Tuning { jitter: f64::NAN, ..Tuning::default() };
        let error = crate::Config::tuned(bad).unwrap_err();
        assert_eq!(error.to_string(), "jitter must be from 0 to 1, not NaN");
    }
}
