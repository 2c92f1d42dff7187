use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::history::History;
use crate::reclaim::Reclaimer;
use crate::snapshot::{Entry, Version};
use crate::sync::{ArcSwap, Mutex, MutexGuard};
use crate::watch::{Forgotten, Watchers};
use crate::weigh::{Scales, Weight};
use crate::{Committed, Snapshot, Stats, Transaction, Watch};

/// How often a transaction computes anew before it queues.
pub(crate) const ATTEMPTS: usize = 16;

/// Named values of which readers see whole versions.
pub struct Store<V> {
    current: ArcSwap<Version<V>>,
    /// Held by who makes the next version.
    writing: Mutex<Watchers<Arc<str>, V>>,
    history: History<Version<V>>,
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

/// The next version was made. What may end with it does once others may write again: destructors take their time, and may
/// use the store.
struct Published<V> {
    number: u64,
    _replaced: Option<Arc<Version<V>>>,
    _told_before: Vec<Arc<V>>,
    _forgotten: Vec<Forgotten<Arc<str>, V>>,
}

/// A name with what is written to it.
type Write<V> = (Arc<str>, Option<(Arc<V>, Option<Arc<Weight>>)>);

impl<V> Store<V> {
    /// A store without names. Whoever lets go of a version last frees it.
    #[must_use]
    pub fn new() -> Self {
        Self::freeing(None)
    }

    fn freeing(reclaimer: Option<Reclaimer<Version<V>>>) -> Self {
        let empty = Version { number: 0, entries: BTreeMap::new() };
        Self {
            current: ArcSwap::from_pointee(empty),
            writing: Mutex::new(Watchers::new()),
            history: History::new(reclaimer),
            scales: None,
        }
    }

    /// Has every value weighed when it is written from now on, so that [`Stats::bytes_alive`] is
    /// known. `weigh` returns bytes, and must not write to this store or watch it. No other writer waits for it, unless its
    /// own has lost so often that they wait anyway.
    #[must_use]
    pub fn weighing(mut self, weigh: impl Fn(&V) -> usize + Send + Sync + 'static) -> Self {
        self.scales = Some(Scales::new(weigh));
        self
    }

    /// The newest version of everything. Wait-free; O(1).
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
    /// no writer loses for ever. Writers that wait are let in fairly, see the crate's front page. Once it queues, it
    /// must not write to this store but through the transaction, nor watch it, and nor may a value that ends within it. If
    /// it fails or panics, nothing changes. O(names).
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
            self.history.conflict();
        }
        // Declared before the lock, so that all of it ends once others may write again, even if `run` fails or
        // panics: destructors may use the store.
        let (mut transaction, result, writes);
        let mut writing = self.writing.lock();
        self.history.queued();
        transaction = Transaction::new(self.snapshot());
        result = run(&mut transaction)?;
        if transaction.writes_nothing() {
            return Ok(Committed { version: transaction.base_number(), result });
        }
        writes = self.weighed(transaction.writes());
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
    /// many it missed. O(log names) amortized; each write of the name then costs O(its watchers) more, since they are woken,
    /// while other writers wait.
    #[must_use]
    pub fn watch(&self, name: &str) -> Watch<V> {
        let mut forgotten = Vec::new();
        let mut watchers = self.writing.lock();
        let current = self.snapshot();
        let newest = |name: &Arc<str>| {
            let entry = current.version.entries.get(name)?;
            Some((entry.written, Arc::clone(&entry.value)))
        };
        watchers.add(Arc::from(name), newest, &mut forgotten)
    }

    /// What the store keeps alive, and how writing went. Never waits for a writer that computes; holds up one that is
    /// about to replace a version for O(versions alive).
    #[must_use]
    pub fn stats(&self) -> Stats {
        // Let go of at once, or it might count as a version that is held.
        let commits = self.snapshot().number();
        let bytes_alive = self.scales.as_ref().map(Scales::total);
        self.history.stats(Instant::now(), commits, bytes_alive)
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
        watchers: &mut MutexGuard<'_, Watchers<Arc<str>, V>>,
        writes: Vec<Write<V>>,
    ) -> Published<V> {
        let current = self.current.load_full();
        let number = current.number + 1;
        let mut entries = current.entries.clone();
        let (mut told, mut forgotten) = (Vec::new(), Vec::new());
        for (name, written) in writes {
            if let Some(those) = watchers.of(&*name, &mut forgotten) {
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
        let told_before =
            told.into_iter().filter_map(|(those, value)| those.tell(number, value)).collect();
        let replaced = self.history.push(current.number, current, Instant::now());
        Published { number, _replaced: replaced, _told_before: told_before, _forgotten: forgotten }
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
