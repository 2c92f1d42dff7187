use std::time::Duration;

/// Which address is tried next, and after what pause. No clock, no I/O.
#[derive(Debug)]
pub(super) struct Dial {
    addresses: Vec<String>,
    next: usize,
    /// Somebody said that the leader listens there, or it did last.
    hint: Option<String>,
    max_pause: Duration,
    /// Attempts since the last pause that was meant to last.
    tried: usize,
    failures: u32,
    redirects: u32,
}

/// After that many redirections without a connection the others are out of date themselves.
const TRUSTED_REDIRECTS: u32 = 2;

impl Dial {
    pub(super) fn new(addresses: Vec<String>, max_pause: Duration) -> Self {
        Self { addresses, next: 0, hint: None, max_pause, tried: 0, failures: 0, redirects: 0 }
    }

    /// The address to be tried now: the one that somebody named, or the next of the list.
    pub(super) fn next_address(&mut self) -> String {
        if let Some(hint) = self.hint.take() {
            return hint;
        }
        let address = self.addresses.get(self.next).cloned().unwrap_or_default();
        self.next = (self.next + 1) % self.addresses.len().max(1);
        address
    }

    pub(super) fn connected(&mut self, address: &str) {
        self.tried = 0;
        self.failures = 0;
        self.redirects = 0;
        self.hint = Some(address.to_owned());
    }

    /// Notes that a server named another one as the leader.
    pub(super) fn redirected(&mut self, leader: String) {
        if !leader.is_empty() && self.redirects < TRUSTED_REDIRECTS {
            self.redirects += 1;
            self.hint = Some(leader);
        }
    }

    /// How long to wait before the next attempt: longer each time that the whole list has failed, and
    /// never in step with the other nodes that lost the same server. Within the list there is next to no
    /// pause, for while one server is dead another one may have begun to lead.
    pub(super) fn pause(&mut self, random: &mut fastrand::Rng) -> Duration {
        if self.hint.is_some() && self.redirects > 0 {
            return Duration::ZERO;
        }
        self.redirects = 0;
        let first = self.max_pause / 40;
        self.tried += 1;
        let full = if self.tried < self.addresses.len() {
            first
        } else {
            self.tried = 0;
            self.failures = self.failures.saturating_add(1);
            first.saturating_mul(1 << (self.failures - 1).min(10)).min(self.max_pause)
        };
        full.mul_f64(0.5 + 0.5 * random.f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_millis(400);

    fn dial() -> Dial {
        Dial::new(vec!["a:1".into(), "b:1".into()], MAX)
    }

    #[test]
    fn the_pause_after_the_whole_list_grows_to_its_bound_and_never_is_the_same_for_all() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut dial = dial();
        let pauses: Vec<_> = (0..40).map(|_| dial.pause(&mut random)).collect();
        assert!(pauses[1] <= MAX / 40 && pauses[1] >= MAX / 80);
        assert!(pauses[3] > MAX / 40);
        assert!(pauses[39] <= MAX && pauses[39] >= MAX / 2);
        assert_ne!(pauses[37], pauses[39]);
        // From one server of the list to the next it stays short.
        assert!(pauses[38] <= MAX / 40);
        dial.connected("a:1");
        assert!(dial.pause(&mut random) <= MAX / 40);
    }

    #[test]
    fn a_redirection_is_followed_at_once_but_not_for_ever() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut dial = dial();
        assert_eq!(dial.next_address(), "a:1");
        for _ in 0..TRUSTED_REDIRECTS {
            dial.redirected("c:1".into());
            assert_eq!(dial.pause(&mut random), Duration::ZERO);
            assert_eq!(dial.next_address(), "c:1");
        }
        dial.redirected("c:1".into());
        assert!(dial.pause(&mut random) > Duration::ZERO);
        assert_eq!(dial.next_address(), "b:1");
    }

    #[test]
    fn after_a_break_the_last_server_is_tried_first_and_then_the_list() {
        let mut dial = dial();
        dial.connected("b:1");
        let tried: Vec<_> = (0..3).map(|_| dial.next_address()).collect();
        assert_eq!(tried, ["b:1", "a:1", "b:1"]);
    }
}
