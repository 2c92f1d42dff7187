use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::reclaim::Reclaimer;
use crate::store::Counts;

/// Fewer replaced versions than this are not worth a sweep.
const SWEEP: usize = 64;

/// What a store keeps alive, and how writing went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Versions not yet freed: the newest, those that a snapshot holds, and, in a store
    /// [with a reclaimer](crate::Store::with_reclaimer), those that only its thread keeps until it looks again.
    pub versions_alive: usize,
    /// The number of the oldest replaced version that is not yet freed.
    pub oldest_held: Option<u64>,
    /// How long ago that version was replaced.
    pub held_for: Option<Duration>,
    /// Bytes of the values in all versions alive, a value in several of them counted once; `None`
    /// unless the store is [`weighing`](crate::Store::weighing).
    pub bytes_alive: Option<u64>,
    /// Versions made so far.
    pub commits: u64,
    /// How often a transaction or update computed anew, because another writer was first.
    pub conflicts: u64,
    /// How many of them lost so often that they made the others wait.
    pub queued: u64,
}

/// The replaced versions, oldest first, as far as they may still be held.
pub(crate) struct History<T> {
    replaced: VecDeque<Replaced<T>>,
    sweep_at: usize,
    reclaimer: Option<Reclaimer<T>>,
}

struct Replaced<T> {
    number: u64,
    at: Instant,
    version: Weak<T>,
}

impl<T> History<T> {
    pub(crate) fn new(reclaimer: Option<Reclaimer<T>>) -> Self {
        Self { replaced: VecDeque::new(), sweep_at: SWEEP, reclaimer }
    }

    /// Notes a version that was just replaced, and gives one back for the writer to free once others may write again.
    /// Amortized O(1): a sweep halves what it waits for.
    #[must_use]
    pub(crate) fn push(&mut self, number: u64, version: Arc<T>, at: Instant) -> Option<Arc<T>> {
        self.replaced.push_back(Replaced { number, at, version: Arc::downgrade(&version) });
        if self.replaced.len() >= self.sweep_at {
            self.sweep();
        }
        match &self.reclaimer {
            Some(reclaimer) => reclaimer.take(version),
            None => Some(version),
        }
    }

    pub(crate) fn stats(
        &mut self,
        now: Instant,
        Counts { commits, conflicts, queued }: Counts,
        bytes_alive: Option<u64>,
    ) -> Stats {
        self.sweep();
        let oldest = self.replaced.front();
        Stats {
            versions_alive: self.replaced.len() + 1,
            oldest_held: oldest.map(|oldest| oldest.number),
            held_for: oldest.map(|oldest| now.saturating_duration_since(oldest.at)),
            bytes_alive,
            commits,
            conflicts,
            queued,
        }
    }

    fn sweep(&mut self) {
        self.replaced.retain(|replaced| replaced.version.strong_count() > 0);
        self.sweep_at = SWEEP.max(self.replaced.len() * 2);
    }
}
