use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crate::snapshot::{Entries, Version};

/// How many versions may wait to be freed; beyond that, whoever drops one frees it.
const WAITING: usize = 1024;

/// Fewer replaced versions than this are not worth a sweep.
const SWEEP: usize = 64;

/// What a store keeps alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Versions not yet freed: the newest, and those that a snapshot holds.
    pub versions_alive: usize,
    /// The number of the oldest replaced version that a snapshot still holds.
    pub oldest_held: Option<u64>,
    /// How long ago that version was replaced.
    pub held_for: Option<Duration>,
}

/// The way to the thread that frees versions, if there is one.
pub(crate) struct Reclaimer<V>(Option<SyncSender<Entries<V>>>);

impl<V> Reclaimer<V> {
    /// Frees on the thread that drops.
    pub(crate) fn inline() -> Self {
        Self(None)
    }

    pub(crate) fn free(&self, entries: Entries<V>) {
        if let Some(reclaimer) = &self.0 {
            // What a full queue gives back is dropped here: late memory beats unbounded memory.
            drop(reclaimer.try_send(entries));
        }
    }
}

impl<V: Send + Sync + 'static> Reclaimer<V> {
    /// Starts a thread that frees until the last version of the store is gone.
    pub(crate) fn start() -> io::Result<Self> {
        let (sender, receiver) = sync_channel::<Entries<V>>(WAITING);
        thread::Builder::new()
            .name("stage-snapshot-reclaim".to_owned())
            .spawn(move || receiver.into_iter().for_each(drop))?;
        Ok(Self(Some(sender)))
    }
}

impl<V> Clone for Reclaimer<V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// The replaced versions, oldest first, as far as they may still be held.
pub(crate) struct History<V> {
    replaced: VecDeque<Replaced<V>>,
    sweep_at: usize,
}

struct Replaced<V> {
    number: u64,
    at: Instant,
    version: Weak<Version<V>>,
}

impl<V> History<V> {
    pub(crate) fn new() -> Self {
        Self { replaced: VecDeque::new(), sweep_at: SWEEP }
    }

    /// Notes a version that was just replaced. Amortized O(1): a sweep halves what it waits for.
    pub(crate) fn push(&mut self, version: &Arc<Version<V>>, at: Instant) {
        let (number, version) = (version.number, Arc::downgrade(version));
        self.replaced.push_back(Replaced { number, at, version });
        if self.replaced.len() >= self.sweep_at {
            self.sweep();
        }
    }

    pub(crate) fn stats(&mut self, now: Instant) -> Stats {
        self.sweep();
        let oldest = self.replaced.front();
        Stats {
            versions_alive: self.replaced.len() + 1,
            oldest_held: oldest.map(|oldest| oldest.number),
            held_for: oldest.map(|oldest| now.saturating_duration_since(oldest.at)),
        }
    }

    fn sweep(&mut self) {
        self.replaced.retain(|replaced| replaced.version.strong_count() > 0);
        self.sweep_at = SWEEP.max(self.replaced.len() * 2);
    }
}
