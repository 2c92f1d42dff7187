//! What may be sent a second time, and how much of it: a pure rule, and a pure count over the last seconds.

use std::sync::Mutex;

use tokio::time::Instant;

use crate::Reason;
use crate::link::lock;

/// The seconds that are looked back on.
const SECONDS: usize = 10;

/// A bound on retries: a share of what was sent in the last ten seconds, and a few in any case.
///
/// Without one, nodes that refuse because they have too much to do get up to twice as much to refuse. The
/// window and the floor are those of Finagle's `RetryBudget` (20 % and 10 a second, over 10 s);
/// Envoy's retry budget has the same share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    /// Retries for each hundred signals sent to other nodes.
    pub percent: u32,
    /// Retries for each second of the window that need no signals beside them.
    pub per_second: u32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { percent: 20, per_second: 10 }
    }
}

/// What trying another node costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cost {
    /// Nothing: the letter has never left this node.
    Free,
    /// A retry of the budget.
    Retry,
}

/// Whether a letter that has failed for this reason may go to another node: it has certainly not started, or its
/// sender says that twice does no harm.
pub(crate) fn may_run_elsewhere(reason: Reason, cost: Cost, is_idempotent: bool) -> bool {
    match reason {
        Reason::LinkLost => cost == Cost::Free || is_idempotent,
        reason => reason.is_not_started(),
    }
}

/// What was sent and retried in each of the last seconds.
#[derive(Debug)]
pub(crate) struct Ledger {
    budget: RetryBudget,
    seconds: [Second; SECONDS],
    /// The second that is written now, counted from an arbitrary start.
    now: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Second {
    sent: u64,
    retried: u64,
}

impl Ledger {
    pub(crate) fn new(budget: RetryBudget) -> Self {
        Self { budget, seconds: [Second::default(); SECONDS], now: 0 }
    }

    /// A signal goes to another node for the first time. O(1) while the second lasts.
    pub(crate) fn sent(&mut self, second: u64) {
        self.current(second).sent += 1;
    }

    /// Whether one more may be sent a second time; if so it is counted. O(1).
    pub(crate) fn retry(&mut self, second: u64) -> bool {
        self.current(second);
        let sent: u64 = self.seconds.iter().map(|second| second.sent).sum();
        let retried: u64 = self.seconds.iter().map(|second| second.retried).sum();
        let floor = u64::from(self.budget.per_second).saturating_mul(SECONDS as u64);
        let share = sent.saturating_mul(self.budget.percent.into()) / 100;
        let is_in_budget = retried < floor.saturating_add(share);
        self.current(second).retried += u64::from(is_in_budget);
        is_in_budget
    }

    /// The entry of a second; those that have left the window since the last call are empty again.
    fn current(&mut self, second: u64) -> &mut Second {
        // Two threads may read the clock in one order and come here in the other.
        let second = second.max(self.now);
        for past in (self.now + 1..=second).rev().take(SECONDS) {
            self.seconds[slot(past)] = Second::default();
        }
        self.now = second;
        &mut self.seconds[slot(second)]
    }
}

fn slot(second: u64) -> usize {
    // Below SECONDS, so it fits.
    (second % SECONDS as u64) as usize
}

/// The ledger of a node with the clock that it is read by.
pub(crate) struct Retries {
    start: Instant,
    ledger: Mutex<Ledger>,
}

impl Retries {
    pub(crate) fn new(budget: RetryBudget) -> Self {
        Self { start: Instant::now(), ledger: Mutex::new(Ledger::new(budget)) }
    }

    pub(crate) fn sent(&self, now: Instant) {
        lock(&self.ledger).sent(self.second(now));
    }

    pub(crate) fn retry(&self, now: Instant) -> bool {
        lock(&self.ledger).retry(self.second(now))
    }

    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BUDGET: RetryBudget = RetryBudget { percent: 20, per_second: 1 };

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Wait(u64),
        Send(u32),
        Retry,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            1 => prop_oneof![0..3u64, 8..25u64].prop_map(Event::Wait),
            2 => (1..40u32).prop_map(Event::Send),
            6 => Just(Event::Retry),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn the_ledger_allows_what_a_list_of_all_events_allows(
            events in prop::collection::vec(event(), 0..200),
        ) {
            let mut ledger = Ledger::new(BUDGET);
            let (mut sent, mut retried, mut now) = (Vec::new(), Vec::new(), 0);
            for event in events {
                let recent = |times: &[u64]| times.iter().filter(|at| **at + 10 > now).count();
                match event {
                    Event::Wait(seconds) => now += seconds,
                    Event::Send(count) => {
                        (0..count).for_each(|_| ledger.sent(now));
                        sent.extend((0..count).map(|_| now));
                    }
                    Event::Retry => {
                        let is_allowed = recent(&retried) < recent(&sent) / 5 + 10;
                        prop_assert_eq!(ledger.retry(now), is_allowed);
                        retried.extend(is_allowed.then_some(now));
                    }
                }
            }
        }
    }

    #[test]
    fn a_storm_of_refusals_is_retried_for_a_fifth_of_what_is_sent() {
        let mut ledger = Ledger::new(RetryBudget::default());
        let mut retried = 0;
        for second in 0..100 {
            for _ in 0..1000 {
                ledger.sent(second);
                retried += u32::from(ledger.retry(second));
            }
        }
        assert!((20_000..21_200).contains(&retried), "{retried}");
    }

    #[test]
    fn a_clock_that_is_read_late_does_not_empty_the_ledger() {
        let mut ledger = Ledger::new(RetryBudget { percent: 0, per_second: 1 });
        assert!((0..10).all(|_| ledger.retry(12)));
        assert!(!ledger.retry(11) && !ledger.retry(12) && ledger.retry(22));
    }
}
