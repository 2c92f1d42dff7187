use std::time::Duration;

/// How sensitive a node is to delay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    sensitivity: Option<f64>,
}

/// A sensitivity that means nothing.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error(
    "the sensitivity must be a number from 0 to {limit}, not {given}; smaller is more sensitive, 0 never leaves"
)]
pub struct ConfigError {
    given: f64,
    limit: f64,
}

/// The largest sensitivity: a thousand seconds for a handler of a millisecond.
const LARGEST: f64 = 1e6;

/// What a message is taken to cost at least, so that fast handlers do not make a node nervous.
const LEAST_COST: Duration = Duration::from_micros(250);

/// The threshold is never below this: schedulers alone delay by so much.
const LEAST_THRESHOLD: Duration = Duration::from_millis(2);

impl Config {
    /// A node that leaves when messages wait longer than `sensitivity` times what one costs; 0
    /// never leaves.
    ///
    /// # Errors
    /// [`ConfigError`] for a negative, infinite or huge number or NaN.
    pub fn try_new(sensitivity: f64) -> Result<Self, ConfigError> {
        if !(0.0..=LARGEST).contains(&sensitivity) {
            return Err(ConfigError { given: sensitivity, limit: LARGEST });
        }
        Ok(Self { sensitivity: (sensitivity > 0.0).then_some(sensitivity) })
    }

    /// A node that stays whatever the delay.
    #[must_use]
    pub fn never() -> Self {
        Self { sensitivity: None }
    }

    /// Whether the node may leave or shed at all.
    #[must_use]
    pub fn can_leave(&self) -> bool {
        self.sensitivity.is_some()
    }

    /// The delay past which the node is in its critical region, for a baseline cost per message.
    #[must_use]
    pub fn threshold(&self, baseline: Duration) -> Duration {
        let factor = self.sensitivity.unwrap_or(Self::default_sensitivity());
        baseline.max(LEAST_COST).mul_f64(factor).max(LEAST_THRESHOLD)
    }

    const fn default_sensitivity() -> f64 {
        8.0
    }
}

impl Default for Config {
    /// Sensitivity 8.
    fn default() -> Self {
        Self { sensitivity: Some(Self::default_sensitivity()) }
    }
}
