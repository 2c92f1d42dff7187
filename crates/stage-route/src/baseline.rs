use std::time::Duration;

/// What one message costs this machine when it is calm: the node's execution interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Baseline {
    seconds: f64,
}

/// Weight of a new window.
const GAIN: f64 = 1.0 / 32.0;

/// The most a window moves the baseline, as a share of it.
const SLEW: f64 = 0.02;

/// Fewer messages say nothing about what one costs.
const LEAST_MESSAGES: u64 = 5;

impl Baseline {
    pub(crate) fn new(seed: Duration) -> Self {
        Self { seconds: seed.as_secs_f64().max(1e-9) }
    }

    pub(crate) fn cost(self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    /// Learns from a window that the caller trusts to be calm.
    pub(crate) fn learn(&mut self, busy: Duration, messages: u64) {
        if messages < LEAST_MESSAGES {
            return;
        }
        let sample = busy.as_secs_f64() / messages as f64;
        let most = self.seconds * SLEW;
        self.seconds =
            (self.seconds + ((sample - self.seconds) * GAIN).clamp(-most, most)).max(1e-9);
    }
}
