use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;
use foldhash::fast::RandomState;

use crate::generation::{Entry, Generation};
use crate::history::History;
use crate::map_writing::{MapWriting, Writer};
use crate::reclaim::Reclaimer;
use crate::store::ATTEMPTS;
use crate::sync::{ArcSwap, Mutex};
use crate::{Committed, Conflict, MapReader, MapSnapshot, MapTransaction, Watch};

/// A map of many small values, of which readers see whole versions and each write costs O(1).
///
/// Several tables are one map whose keys begin with the table: then a snapshot sees them all at one version, and a
/// transaction may write to them all.
///
/// ```
/// use std::convert::Infallible;
/// use stage_snapshot::Map;
///
/// #[derive(Clone, Copy, PartialEq, Eq, Hash)]
/// enum Table {
///     Stock,
///     Sold,
/// }
///
/// let map = Map::from_iter([((Table::Stock, "tea"), 3)]);
/// let sold = map.transaction(|tx| {
///     let stock = tx.get(&(Table::Stock, "tea")).copied().unwrap_or(0);
///     let sold = tx.get(&(Table::Sold, "tea")).copied().unwrap_or(0);
///     tx.insert((Table::Stock, "tea"), stock - 1);
///     tx.insert((Table::Sold, "tea"), sold + 1);
///     Ok::<_, Infallible>(sold + 1)
/// })?;
/// let snapshot = map.snapshot();
/// assert_eq!((snapshot.number(), sold.version, sold.result), (2, 2, 1));
/// assert_eq!(snapshot.get(&(Table::Stock, "tea")), Some(&2));
/// # Ok::<(), Infallible>(())
/// ```
pub struct Map<K, V> {
    /// Apart from what writers touch.
    newest: CachePadded<ArcSwap<Generation<K, V>>>,
    writing: Mutex<MapWriting<K, V>>,
    history: Arc<History<Generation<K, V>>>,
}

/// What a map keeps in memory, and how writing went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MapStats {
    /// Keys that have a value.
    pub entries: usize,
    /// Writes kept beside those, for snapshots or until they are shed.
    pub outdated: usize,
    /// How many times the map's memory is alive: once, and once more for each time the map moved to new memory
    /// and a snapshot still needs the old one, or a [reclaimer](Map::with_reclaimer) has not yet freed it.
    pub generations_alive: usize,
    /// How long ago the oldest of these was replaced.
    pub held_for: Option<Duration>,
    /// Versions made so far.
    pub commits: u64,
    /// How often a transaction or update computed anew, because another writer was first.
    pub conflicts: u64,
    /// How many of them lost so often that they made the others wait.
    pub queued: u64,
}

impl<K, V> Map<K, V> {
    /// A map without entries. Whoever lets go of its old memory last frees it.
    #[must_use]
    pub fn new() -> Self {
        Self::freeing(None)
    }

    fn freeing(reclaimer: Option<Reclaimer<Generation<K, V>>>) -> Self {
        let mut empty = Generation::for_keys(0, RandomState::default());
        empty.lay_out(usize::MAX);
        let empty = Arc::new(empty);
        let history = Arc::new(History::new(reclaimer));
        let writing = Mutex::new(MapWriting::of(Arc::clone(&empty), Arc::clone(&history)));
        Self { newest: CachePadded::new(ArcSwap::new(empty)), writing, history }
    }

    /// The newest version of everything. Wait-free; O(1).
    #[must_use]
    pub fn snapshot(&self) -> MapSnapshot<K, V> {
        MapSnapshot::newest(self.newest.load_full())
    }

    /// A handle that takes snapshots for less, to be kept by a thread that reads often. O(1).
    #[must_use]
    pub fn reader(&self) -> MapReader<'_, K, V> {
        MapReader::new(self)
    }

    /// What the map keeps in memory, and how writing went. Never waits for a writer that computes; holds up one whose map
    /// is about to move to new memory for O(generations alive).
    #[must_use]
    pub fn stats(&self) -> MapStats {
        let newest = self.snapshot();
        let (entries, outdated, commits) = (newest.len(), newest.outdated(), newest.number());
        // Or it might count as memory that is held.
        drop(newest);
        let of_history = self.history.stats(Instant::now(), commits, None);
        MapStats {
            entries,
            outdated,
            generations_alive: of_history.versions_alive,
            held_for: of_history.held_for,
            commits: of_history.commits,
            conflicts: of_history.conflicts,
            queued: of_history.queued,
        }
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Map<K, V> {
    /// A map without entries whose old memory is freed by a thread of its own, so that no reader has
    /// to: within 40 ms of the end of the last snapshot that needs it. The thread ends with the map, and what snapshots
    /// hold beyond that is freed with the last of them.
    ///
    /// A writer frees one itself if the map moves to new memory nine times before the thread looks again. At most 1024
    /// that snapshots hold wait for the thread; beyond, whoever lets go of one last frees it.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn with_reclaimer() -> io::Result<Self> {
        Ok(Self::freeing(Some(Reclaimer::start()?)))
    }
}

/// Writes. One that is outdated is freed once there are more than twice as many as entries, or
/// 64, and no snapshot from before needs it: then the map moves on to new memory, a few entries with each
/// write. A value that is dear to clone belongs behind an [`Arc`]; to clone one must not use the map.
///
/// # Panics
/// Beyond 2^28 keys.
impl<K: Clone + Eq + Hash, V: Clone> Map<K, V> {
    /// Sets a key's value. Returns the number of the version that was made. O(1) amortized.
    pub fn insert(&self, key: K, value: V) -> u64 {
        self.write(&mut Some(Entry { key, value: Some(value) }))
    }

    /// Removes a key. Returns the number of the version that was made, or of the newest if the key had no value.
    /// O(1) amortized.
    pub fn remove<Q>(&self, key: &Q) -> u64
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.writer().remove(&self.newest, key)
    }

    /// Replaces a key's value by one computed from it; `None` removes the key.
    ///
    /// A [`transaction`](Self::transaction) of one key: `compute` may be called several times. Returns the
    /// number of the version that was made, or of the newest if the key had no value and gets none. O(1) amortized.
    ///
    /// # Errors
    /// What `compute` returned.
    pub fn update<E>(
        &self,
        key: K,
        mut compute: impl FnMut(Option<&V>) -> Result<Option<V>, E>,
    ) -> Result<u64, E> {
        for _ in 0..ATTEMPTS {
            let base = self.snapshot();
            let value = compute(base.get(&key))?;
            // Declared before the lock, here and below: what ends with it may use the map.
            let mut entry = Some(Entry { key: key.clone(), value });
            let mut writer = self.writer();
            if writer.written(&key) == base.written(&key) {
                return Ok(writer.write(&self.newest, &mut entry));
            }
            drop(writer);
            self.history.conflict();
        }
        let mut entry;
        let mut writer = self.writer();
        self.history.queued();
        let value = compute(self.snapshot().get(&key))?;
        entry = Some(Entry { key, value });
        Ok(writer.write(&self.newest, &mut entry))
    }

    /// Reads and writes several keys, all or nothing, as if nobody else wrote meanwhile.
    ///
    /// `run` computes without holding anything. It is called again whenever another writer
    /// changed a key that it read, 16 times at most, then once more while other writers wait: so no
    /// writer loses for ever. Once it queues, it must not write to this map but through the transaction, nor watch it, and
    /// nor may a value that ends within it. If it fails or panics, nothing changes.
    /// To remove keys that have no value makes no version. O(keys read and written) amortized.
    ///
    /// # Errors
    /// What `run` returned.
    pub fn transaction<R, E>(
        &self,
        mut run: impl FnMut(&mut MapTransaction<K, V>) -> Result<R, E>,
    ) -> Result<Committed<R>, E> {
        for _ in 0..ATTEMPTS {
            let mut transaction = MapTransaction::new(self.snapshot());
            let result = run(&mut transaction)?;
            if transaction.writes_nothing() {
                return Ok(Committed { version: transaction.base().number(), result });
            }
            let mut writer = self.writer();
            if transaction.holds_in(&writer) {
                let version = writer.commit(&self.newest, transaction.writes());
                drop(writer);
                return Ok(Committed { version, result });
            }
            drop(writer);
            self.history.conflict();
        }
        // Declared before the lock, so that both end after it, even if `run` fails or panics.
        let (mut transaction, result);
        let mut writer = self.writer();
        self.history.queued();
        transaction = MapTransaction::new(self.snapshot());
        result = run(&mut transaction)?;
        let version = writer.commit(&self.newest, transaction.writes());
        drop(writer);
        Ok(Committed { version, result })
    }

    /// Replaces a key's value, or removes it, if it was last written by the version `expected`
    /// (see [`MapSnapshot::written`]); `None` expects that it has no value.
    ///
    /// Returns the number of the version that was made, or of the newest if the key had no value and gets none. O(1)
    /// amortized.
    ///
    /// # Errors
    /// [`Conflict`] if another version wrote it last; nothing changes then.
    pub fn compare_and_set(
        &self,
        key: K,
        expected: Option<u64>,
        value: Option<V>,
    ) -> Result<u64, Conflict> {
        // Declared before the lock, so that it ends after it.
        let mut entry = Some(Entry { key, value });
        let mut writer = self.writer();
        let written = entry.as_ref().and_then(|entry| writer.written(&entry.key));
        if written != expected {
            return Err(Conflict { written });
        }
        Ok(writer.write(&self.newest, &mut entry))
    }

    /// The changes of a key from now on, beginning with its value as it is.
    ///
    /// A writer never waits for who watches: who is slow skips to the newest change and learns how
    /// many it missed. O(1) amortized, and a clone of the value if nobody watches the key yet; each write of the key then
    /// clones its value and costs O(its watchers) more, since they are woken, while other writers wait.
    #[must_use]
    pub fn watch(&self, key: K) -> Watch<V> {
        self.writer().watch(key)
    }

    /// Sheds everything outdated at once; what snapshots see they keep. Holds writers up for O(entries).
    pub fn compact(&self) {
        self.writer().renew_all(&self.newest, 0);
    }

    fn write(&self, entry: &mut Option<Entry<K, V>>) -> u64 {
        self.writer().write(&self.newest, entry)
    }

    fn writer(&self) -> Writer<'_, K, V> {
        Writer::next(&self.writing)
    }
}

impl<K, V> Default for Map<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Clone + Eq + Hash, V: Clone> FromIterator<(K, V)> for Map<K, V> {
    /// A map of entries, all at one version.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let map = Self::new();
        map.writer().fill(&map.newest, entries.into_iter());
        map
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Map<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.snapshot(), f)
    }
}
