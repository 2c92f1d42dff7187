use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Failure, Reason};

/// What has happened since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Signals sent, one per addressed stage, local ones included.
    pub sent: u64,
    /// Signals of others that an inbox here took.
    pub received: u64,
    /// Sent signals that ended with results; an end counts when its sender takes it.
    pub replies: u64,
    /// Sent signals that ended without, by reason, in the order of [`Reason::ALL`].
    pub failures: [u64; Reason::ALL.len()],
    /// Sent signals that were tried on another node: refused, or idempotent and lost.
    pub retries: u64,
    /// Sent signals that were refused and not tried again, because too many had been.
    pub retries_spent: u64,
    /// Signals for which any node was chosen, because fewer than half that carry the stage are joined.
    pub panics: u64,
    /// Sent signals whose sender stopped waiting.
    pub withdrawn: u64,
    /// Signals of others that were turned away before they started.
    pub turned_away: u64,
    /// Links that came up.
    pub links_opened: u64,
    /// Links that broke.
    pub links_lost: u64,
    /// Links that a hello refused, by this node or by the peer.
    pub links_refused: u64,
    /// Connections that spoke no HTTP/2, or too slowly.
    pub strangers: u64,
}

impl Stats {
    /// How many sent signals ended with this reason.
    #[must_use]
    pub fn failed(&self, reason: Reason) -> u64 {
        self.failures.get(reason.index()).copied().unwrap_or(0)
    }
}

/// The counters behind [`Stats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) sent: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) replies: AtomicU64,
    pub(crate) failures: [AtomicU64; Reason::ALL.len()],
    pub(crate) retries: AtomicU64,
    pub(crate) retries_spent: AtomicU64,
    pub(crate) panics: AtomicU64,
    pub(crate) withdrawn: AtomicU64,
    pub(crate) turned_away: AtomicU64,
    pub(crate) links_opened: AtomicU64,
    pub(crate) links_lost: AtomicU64,
    pub(crate) links_refused: AtomicU64,
    pub(crate) strangers: AtomicU64,
}

/// Adds one. Counters order nothing, so relaxed is enough.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    pub(crate) fn ended<T>(&self, outcome: &Result<T, Failure>) {
        match outcome {
            Ok(_) => count(&self.replies),
            Err(failure) => self.failures.get(failure.reason.index()).into_iter().for_each(count),
        }
    }

    pub(crate) fn view(&self) -> Stats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            sent: load(&self.sent),
            received: load(&self.received),
            replies: load(&self.replies),
            failures: std::array::from_fn(|index| self.failures.get(index).map_or(0, load)),
            retries: load(&self.retries),
            retries_spent: load(&self.retries_spent),
            panics: load(&self.panics),
            withdrawn: load(&self.withdrawn),
            turned_away: load(&self.turned_away),
            links_opened: load(&self.links_opened),
            links_lost: load(&self.links_lost),
            links_refused: load(&self.links_refused),
            strangers: load(&self.strangers),
        }
    }
}
