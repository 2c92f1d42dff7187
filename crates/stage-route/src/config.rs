use std::time::Duration;

use crate::Tuning;

/// How sensitive a node is to delay, and how it leaves and returns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    can_leave: bool,
    tuning: Tuning,
}

/// A setting that means nothing.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A negative, infinite or huge sensitivity, or NaN.
    #[error(
        "the sensitivity must be a number from 0 to {limit}, not {given}; smaller is more sensitive, 0 never leaves"
    )]
    Sensitivity {
        /// What was given.
        given: f64,
        /// The largest that is accepted.
        limit: f64,
    },
    /// A field of [`Tuning`] outside its range.
    #[error("{field} must be from {least} to {most}, not {given}")]
    Tuning {
        /// The field.
        field: &'static str,
        /// What was given; durations in seconds.
        given: f64,
        /// The smallest that is accepted.
        least: f64,
        /// The largest that is accepted.
        most: f64,
    },
}

/// What a message is taken to cost at least, so that fast handlers do not make a node nervous.
const LEAST_COST: Duration = Duration::from_micros(250);

/// The threshold is never below this: schedulers alone delay by so much.
const LEAST_THRESHOLD: Duration = Duration::from_millis(2);

impl Config {
    /// The largest sensitivity: a thousand seconds for a handler of a millisecond.
    pub const LARGEST: f64 = 1e6;

    /// A node that leaves when messages wait longer than `sensitivity` times what one costs; 0
    /// never leaves.
    ///
    /// # Errors
    /// [`ConfigError`] for a negative, infinite or huge number or NaN.
    pub fn try_new(sensitivity: f64) -> Result<Self, ConfigError> {
        if !(0.0..=Self::LARGEST).contains(&sensitivity) {
            return Err(ConfigError::Sensitivity { given: sensitivity, limit: Self::LARGEST });
        }
        if sensitivity == 0.0 {
            return Ok(Self::never());
        }
        Ok(Self { can_leave: true, tuning: Tuning { sensitivity, ..Tuning::default() } })
    }

    /// A node whose every constant is given, for experts. Sensitivity 0 never leaves.
    ///
    /// # Errors
    /// [`ConfigError`] names the field that is out of its range.
    pub fn tuned(tuning: Tuning) -> Result<Self, ConfigError> {
        let plain = Self::try_new(tuning.sensitivity)?;
        tuning.check()?;
        Ok(Self { tuning, ..plain })
    }

    /// A node that stays whatever the delay.
    #[must_use]
    pub fn never() -> Self {
        Self { can_leave: false, tuning: Tuning::default() }
    }

    /// Whether the node may leave or shed at all.
    #[must_use]
    pub fn can_leave(&self) -> bool {
        self.can_leave
    }

    /// The delay past which the node is in its critical region, for a baseline cost per message.
    #[must_use]
    pub fn threshold(&self, baseline: Duration) -> Duration {
        times(baseline.max(LEAST_COST), self.tuning.sensitivity).max(LEAST_THRESHOLD)
    }

    pub(crate) fn tuning(&self) -> &Tuning {
        &self.tuning
    }
}

/// So many times as long, or the longest there is.
pub(crate) fn times(duration: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(duration.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

impl Default for Config {
    /// Sensitivity 8.
    fn default() -> Self {
        Self { can_leave: true, tuning: Tuning::default() }
    }
}
