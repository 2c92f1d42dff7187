use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// One shard's part in what a member leads. A member that leads much already lets others go first.
#[derive(Debug)]
pub(super) struct Share {
    led: Arc<AtomicU32>,
    is_led: bool,
}

impl Share {
    /// `led` counts the shards that the member leads.
    pub(super) fn new(led: Arc<AtomicU32>) -> Self {
        Self { led, is_led: false }
    }

    /// Notes whether the member leads this shard, or is about to.
    pub(super) fn set(&mut self, is_led: bool) {
        match (self.is_led, is_led) {
            (false, true) => drop(self.led.fetch_add(1, Ordering::Relaxed)),
            (true, false) => drop(self.led.fetch_sub(1, Ordering::Relaxed)),
            _ => {}
        }
        self.is_led = is_led;
    }

    /// How long to let others go first: a sixteenth of the authority for each shard that is led, at most two of them.
    pub(super) fn courtesy(&self, authority: Duration) -> Duration {
        authority / 16 * self.led.load(Ordering::Relaxed).min(2)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(false);
    }
}
