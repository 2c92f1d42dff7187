use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::reclaim::Reclaimer;
use crate::sync::Mutex;

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
    /// What the values in all versions alive weigh, a value in several of them once; `None` unless the store is
    /// [`weighing`](crate::Store::weighing). What two values share, as a [`Table`](crate::Table) does with the one that it was
    /// made from, counts in both.
    pub bytes_alive: Option<u64>,
    /// Versions made so far.
    pub commits: u64,
    /// How often a transaction or update computed anew, because another writer was first.
    pub conflicts: u64,
    /// How many of them lost so often that they made the others wait.
    pub queued: u64,
}

/// The replaced versions, as far as they may still be held, and how writing went. Apart from what the writer locks, so
/// that nobody who asks waits for a writer that computes.
pub(crate) struct History<T> {
    replaced: Mutex<AllReplaced<T>>,
    reclaimer: Option<Reclaimer<T>>,
    conflicts: AtomicU64,
    queued: AtomicU64,
}

/// Oldest first.
struct AllReplaced<T> {
    versions: VecDeque<Replaced<T>>,
    sweep_at: usize,
}

struct Replaced<T> {
    number: u64,
    at: Instant,
    version: Weak<T>,
}

impl<T> History<T> {
    pub(crate) fn new(reclaimer: Option<Reclaimer<T>>) -> Self {
        let replaced = AllReplaced { versions: VecDeque::new(), sweep_at: SWEEP };
        Self {
            replaced: Mutex::new(replaced),
            reclaimer,
            conflicts: AtomicU64::new(0),
            queued: AtomicU64::new(0),
        }
    }

    /// Notes a version that was just replaced, and gives one back for the writer to free once others may write again.
    /// Only the writer may do so, or they get out of order. Amortized O(1): a sweep halves what it waits for.
    #[must_use]
    pub(crate) fn push(&self, number: u64, version: Arc<T>, at: Instant) -> Option<Arc<T>> {
        self.replaced.lock().push(Replaced { number, at, version: Arc::downgrade(&version) });
        match &self.reclaimer {
            Some(reclaimer) => reclaimer.take(version),
            None => Some(version),
        }
    }

    /// Somebody computed in vain.
    pub(crate) fn conflict(&self) {
        self.conflicts.fetch_add(1, Ordering::Relaxed);
    }

    /// Somebody makes the others wait.
    pub(crate) fn queued(&self) {
        self.queued.fetch_add(1, Ordering::Relaxed);
    }

    /// Each version is one commit, so their count is the number of the newest.
    pub(crate) fn stats(&self, now: Instant, commits: u64, bytes_alive: Option<u64>) -> Stats {
        let mut replaced = self.replaced.lock();
        replaced.sweep();
        let oldest = replaced.versions.front();
        Stats {
            versions_alive: replaced.versions.len() + 1,
            oldest_held: oldest.map(|oldest| oldest.number),
            held_for: oldest.map(|oldest| now.saturating_duration_since(oldest.at)),
            bytes_alive,
            commits,
            conflicts: self.conflicts.load(Ordering::Relaxed),
            queued: self.queued.load(Ordering::Relaxed),
        }
    }
}

impl<T> AllReplaced<T> {
    fn push(&mut self, replaced: Replaced<T>) {
        self.versions.push_back(replaced);
        if self.versions.len() >= self.sweep_at {
            self.sweep();
        }
    }

    fn sweep(&mut self) {
        self.versions.retain(|replaced| replaced.version.strong_count() > 0);
        self.sweep_at = SWEEP.max(self.versions.len() * 2);
    }
}
