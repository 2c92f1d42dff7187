use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::history::History;
use crate::reclaim::Reclaimer;
use crate::snapshot::{Entry, Version};
use crate::sync::{ArcSwap, Mutex, MutexGuard};
use crate::watch::Watchers;
use crate::weigh::{Scales, Weight};
use crate::{Committed, Snapshot, Stats, Transaction, Watch};

/// How often a transaction computes anew before it queues.
pub(crate) const ATTEMPTS: usize = 16;

/// Named values of which readers see whole versions.
pub struct Store<V> {
    current: ArcSwap<Version<V>>,
    writing: Mutex<Writing<V>>,
    scales: Option<Scales<V>>,
}

/// The name was written since: nothing was changed; read it again and decide anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "another writer was first: the name was last written by version {written:?}, read it again"
)]
pub struct Conflict {
    /// The number of the version that wrote the name last; `None` if it has no value.
    pub written: Option<u64>,
}

/// What only a writer needs.
struct Writing<V> {
    history: History<Version<V>>,
    watchers: Watchers<Arc<str>, V>,
    counts: Counts,
}

/// The next version was made.
struct Published<V> {
    number: u64,
    /// What may end with it, once others may write again: destructors take their time, and may use the store.
    _replaced: (Option<Arc<Version<V>>>, Vec<Arc<V>>),
}

/// A name with what is written to it.
type Write<V> = (Arc<str>, Option<(Arc<V>, Option<Arc<Weight>>)>);

/// How writing went so far.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) commits: u64,
    pub(crate) conflicts: u64,
    pub(crate) queued: u64,
}

impl<V> Store<V> {
    /// A store without names. Whoever lets go of a version last frees it.
    #[must_use]
    pub fn new() -> Self {
        Self::freeing(None)
    }

    fn freeing(reclaimer: Option<Reclaimer<Version<V>>>) -> Self {
        let empty = Version { number: 0, entries: BTreeMap::new() };
        let writing = Writing {
            history: History::new(reclaimer),
            watchers: Watchers::new(),
            counts: Counts::default(),
        };
        let (current, writing) = (ArcSwap::from_pointee(empty), Mutex::new(writing));
        Self { current, writing, scales: None }
    }

    /// Has every value weighed when it is written from now on, so that [`Stats::bytes_alive`] is
    /// known. `weigh` returns bytes, and must not write to this store, watch it or ask for its stats. No other writer waits for it, unless its own has
    /// lost so often that they wait anyway.
    #[must_use]
    pub fn weighing(mut self, weigh: impl Fn(&V) -> usize + Send + Sync + 'static) -> Self {
        self.scales = Some(Scales::new(weigh));
        self
    }

    /// The newest version of everything. Wait-free.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot<V> {
        Snapshot { version: self.current.load_full() }
    }

    /// Replaces a name's value by one computed from it; `None` removes the name.
    ///
    /// A [`transaction`](Self::transaction) of one name: `compute` may be called several times.
    /// Returns the number of the version that was made. O(names).
    ///
    /// # Errors
    /// What `compute` returned.
    pub fn update<E>(
        &self,
        name: &str,
        mut compute: impl FnMut(Option<&V>) -> Result<Option<V>, E>,
    ) -> Result<u64, E> {
        let committed = self.transaction(|transaction| {
            match compute(transaction.get(name))? {
                Some(value) => transaction.set(name, value),
                None => transaction.remove(name),
            }
            Ok(())
        })?;
        Ok(committed.version)
    }

    /// Reads and writes several names, all or nothing, as if nobody else wrote meanwhile.
    ///
    /// `run` computes without holding anything. It is called again whenever another writer
    /// changed a name that it read, 16 times at most, then once more while other writers wait: so
    /// no writer loses for ever. Writers that wait are let in fairly, see the crate's front page. It
    /// must not write to this store but through the transaction once it queues, watch it or ask for its stats. If it
    /// fails or panics, nothing changes. O(names).
    ///
    /// # Errors
    /// What `run` returned.
    pub fn transaction<R, E>(
        &self,
        mut run: impl FnMut(&mut Transaction<V>) -> Result<R, E>,
    ) -> Result<Committed<R>, E> {
        for _ in 0..ATTEMPTS {
            let mut transaction = Transaction::new(self.snapshot());
            let result = run(&mut transaction)?;
            if transaction.writes_nothing() {
                return Ok(Committed { version: transaction.base_number(), result });
            }
            let writes = self.weighed(transaction.take_writes());
            let mut writing = self.writing.lock();
            if transaction.holds_in(&self.snapshot()) {
                let published = self.publish(&mut writing, writes);
                drop(writing);
                return Ok(Committed { version: published.number, result });
            }
            writing.counts.conflicts += 1;
        }
        let mut writing = self.writing.lock();
        writing.counts.queued += 1;
        let mut transaction = Transaction::new(self.snapshot());
        let result = run(&mut transaction)?;
        if transaction.writes_nothing() {
            return Ok(Committed { version: transaction.base_number(), result });
        }
        let writes = self.weighed(transaction.take_writes());
        let published = self.publish(&mut writing, writes);
        drop(writing);
        Ok(Committed { version: published.number, result })
    }

    /// Replaces a name's value, or removes it, if it was last written by the version `expected`
    /// (see [`Snapshot::written`]); `None` expects that it has no value.
    ///
    /// Returns the number of the version that was made. O(names).
    ///
    /// # Errors
    /// [`Conflict`] if another version wrote it last; nothing changes then.
    pub fn compare_and_set(
        &self,
        name: &str,
        expected: Option<u64>,
        value: Option<V>,
    ) -> Result<u64, Conflict> {
        let writes = self.weighed([(Arc::from(name), value.map(Arc::new))]);
        let mut writing = self.writing.lock();
        let written = self.snapshot().written(name);
        if written != expected {
            return Err(Conflict { written });
        }
        let published = self.publish(&mut writing, writes);
        drop(writing);
        Ok(published.number)
    }

    /// The changes of a name from now on, beginning with its value as it is.
    ///
    /// A writer never waits for who watches: who is slow skips to the newest change and learns how
    /// many it missed.
    #[must_use]
    pub fn watch(&self, name: &str) -> Watch<V> {
        let mut writing = self.writing.lock();
        let current = self.snapshot();
        let entry = current.version.entries.get(name);
        let version = entry.map_or(0, |entry| entry.written);
        writing.watchers.add(Arc::from(name), version, entry.map(|entry| Arc::clone(&entry.value)))
    }

    /// What the store keeps alive, and how writing went. Holds writers up for O(versions alive).
    #[must_use]
    pub fn stats(&self) -> Stats {
        let Writing { history, counts, .. } = &mut *self.writing.lock();
        let bytes_alive = self.scales.as_ref().map(Scales::total);
        history.stats(Instant::now(), *counts, bytes_alive)
    }

    fn weighed(
        &self,
        writes: impl IntoIterator<Item = (Arc<str>, Option<Arc<V>>)>,
    ) -> Vec<Write<V>> {
        let weigh = |value: Arc<V>| {
            let weight = self.scales.as_ref().map(|scales| scales.weigh(&value));
            (value, weight)
        };
        writes.into_iter().map(|(name, value)| (name, value.map(weigh))).collect()
    }

    /// Makes the next version; the guard proves that no other writer does.
    fn publish(
        &self,
        writing: &mut MutexGuard<'_, Writing<V>>,
        writes: Vec<Write<V>>,
    ) -> Published<V> {
        let current = self.current.load_full();
        let number = current.number + 1;
        let mut entries = current.entries.clone();
        let mut told = Vec::new();
        for (name, written) in writes {
            if let Some(those) = writing.watchers.of(&*name) {
                told.push((those, written.as_ref().map(|(value, _)| Arc::clone(value))));
            }
            match written {
                Some((value, weight)) => {
                    entries.insert(name, Entry { written: number, value, weight });
                }
                None => {
                    entries.remove(&name);
                }
            }
        }
        self.current.store(Arc::new(Version { number, entries }));
        writing.counts.commits += 1;
        let told =
            told.into_iter().filter_map(|(those, value)| those.tell(number, value)).collect();
        let replaced = writing.history.push(current.number, current, Instant::now());
        Published { number, _replaced: (replaced, told) }
    }
}

impl<V: Send + Sync + 'static> Store<V> {
    /// A store without names in which no reader frees a version: the end of a snapshot costs it
    /// the same whatever the snapshot was the last to hold.
    ///
    /// The last eight replaced versions are kept for those who read them just now, and freed by the next
    /// writer. What snapshots hold for longer is freed by a thread of its own, within 20 ms of the
    /// last one's end. At most 1024 versions wait for that; beyond, whoever lets go of one last frees
    /// it. The thread ends with the store; what snapshots hold beyond that is freed with the last of them.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn with_reclaimer() -> io::Result<Self> {
        Ok(Self::freeing(Some(Reclaimer::start()?)))
    }
}

impl<V> Default for Store<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V: fmt::Debug> fmt::Debug for Store<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.snapshot(), f)
    }
}
