use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Instant;

use crate::generation::{Entry, Generation, State};
use crate::history::History;
use crate::reclaim::Reclaimer;
use crate::renewal::{Progress, Renewal};
use crate::slot::Found;
use crate::store::Counts;
use crate::sync::ArcSwap;
use crate::watch::{Told, Watchers};

/// How many keys may have a value at a time.
const MOST: usize = 1 << 28;

/// Writes to a few keys are outdated without being worth a renewal.
const FEW: u32 = 32;

/// A renewal copies so many entries for each write, in batches of that many writes.
const COPIES: usize = 8;
const BATCH: usize = 16;

/// How many entries are copied at a time when all are copied at once.
const ALL: usize = 1024;

/// What only the writer of a map needs.
pub(crate) struct MapWriting<K, V> {
    generation: Arc<Generation<K, V>>,
    state: State,
    /// How many writes the generation has.
    pushed: u32,
    /// How many keys its index has.
    keys: usize,
    renewal: Option<Renewal<K, V>>,
    /// Writes for which the renewal has copied nothing yet.
    owed: usize,
    pub(crate) history: History<Generation<K, V>>,
    pub(crate) watchers: Watchers<K, V>,
    pub(crate) counts: Counts,
    pub(crate) replaced: Replaced<K, V>,
}

/// What may end with a write, once others may write again: destructors take their time, and may use the map.
pub(crate) struct Replaced<K, V> {
    generations: Vec<Arc<Generation<K, V>>>,
    values: Vec<Arc<V>>,
}

impl<K, V> Default for Replaced<K, V> {
    fn default() -> Self {
        Self { generations: Vec::new(), values: Vec::new() }
    }
}

impl<K, V> Replaced<K, V> {
    /// All of it; most writes leave nothing.
    pub(crate) fn take(&mut self) -> Option<Self> {
        let is_empty = self.generations.is_empty() && self.values.is_empty();
        (!is_empty).then(|| std::mem::take(self))
    }
}

/// Who is told what once a commit is there for all to see.
type Tiding<V> = (Told<V>, Option<Arc<V>>);

impl<K, V> MapWriting<K, V> {
    /// Of the first generation, which is empty.
    pub(crate) fn of(
        generation: Arc<Generation<K, V>>,
        reclaimer: Option<Reclaimer<Generation<K, V>>>,
    ) -> Self {
        Self {
            generation,
            state: State::default(),
            pushed: 0,
            keys: 0,
            renewal: None,
            owed: 0,
            history: History::new(reclaimer),
            watchers: Watchers::new(),
            counts: Counts::default(),
            replaced: Replaced::default(),
        }
    }

    /// How many keys have a value, and how many writes are kept beside the newest of each.
    pub(crate) fn extent(&self) -> (u32, u32) {
        (self.state.entries, self.pushed - self.state.entries)
    }

    /// The version that wrote a key's value last.
    pub(crate) fn written<Q>(&self, key: &Q) -> Option<u64>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.generation.written(key, self.pushed)
    }
}

impl<K: Clone + Eq + Hash, V: Clone> MapWriting<K, V> {
    /// Writes one key as the next version, which it returns.
    pub(crate) fn set(&mut self, newest: &ArcSwap<Generation<K, V>>, key: K, value: V) -> u64 {
        self.make_room(newest, 1);
        let found = self.generation.slot(&key, self.generation.hash(&key));
        let tidings = self.tidings(&key, Some(&value));
        self.state.version += 1;
        self.push(found, Entry { key, value: Some(value) });
        self.publish(tidings)
    }

    /// Removes one key, which makes the next version if it had a value.
    pub(crate) fn remove<Q>(&mut self, newest: &ArcSwap<Generation<K, V>>, key: &Q) -> u64
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.make_room(newest, 1);
        let found = self.generation.slot(key, self.generation.hash(key));
        let newest = self.generation.entry(found.word.newest());
        let Some(Entry { key, value: Some(_) }) = newest else { return self.state.version };
        let removed = Entry { key: key.clone(), value: None };
        let tidings = self.tidings(&removed.key, None);
        self.state.version += 1;
        self.push(found, removed);
        self.publish(tidings)
    }

    /// Writes several distinct keys as the next version, unless that changes nothing.
    pub(crate) fn commit(
        &mut self,
        newest: &ArcSwap<Generation<K, V>>,
        writes: impl ExactSizeIterator<Item = (K, Option<V>)>,
    ) -> u64 {
        self.make_room(newest, writes.len());
        // What a key has to say, which may panic, comes before the first change.
        let found: Vec<_> = writes
            .map(|(key, value)| {
                (self.generation.slot(&key, self.generation.hash(&key)), key, value)
            })
            .filter(|(found, _, value)| value.is_some() || found.word.has_value())
            .collect();
        if found.is_empty() {
            return self.state.version;
        }
        let tidings: Vec<_> =
            found.iter().filter_map(|(_, key, value)| self.tidings(key, value.as_ref())).collect();
        self.state.version += 1;
        for (found, key, value) in found {
            self.push(found, Entry { key, value });
        }
        self.publish(tidings)
    }

    /// Gives an empty map entries, all at one version.
    pub(crate) fn fill(
        &mut self,
        newest: &ArcSwap<Generation<K, V>>,
        entries: impl Iterator<Item = (K, V)>,
    ) {
        let least = entries.size_hint().0.min(MOST);
        let mut entries = entries.peekable();
        if entries.peek().is_none() {
            return;
        }
        (self.state.version, self.counts.commits) = (1, 1);
        let mut renewal = Renewal::for_keys(least, self.generation.hasher().clone());
        let first = entries.by_ref().take(least);
        self.state.entries = renewal.fill(first.map(|(key, value)| (key, value, 1)));
        self.renew(newest, renewal);
        for (key, value) in entries {
            self.make_room(newest, 1);
            let found = self.generation.slot(&key, self.generation.hash(&key));
            self.push(found, Entry { key, value: Some(value) });
        }
        self.generation.publish(self.pushed);
    }

    /// Goes on without anything outdated.
    pub(crate) fn renew_all(&mut self, newest: &ArcSwap<Generation<K, V>>, more: usize) {
        let keys = self.state.entries as usize + more;
        let mut renewal = Renewal::for_keys(keys, self.generation.hasher().clone());
        while renewal.copy(&self.generation, ALL) == Progress::Going {}
        self.renew(newest, renewal);
    }

    fn make_room(&mut self, newest: &ArcSwap<Generation<K, V>>, writes: usize) {
        assert!(
            self.state.entries as usize + writes <= MOST,
            "a map has room for {MOST} keys; spread them over several"
        );
        self.owed += writes;
        if self.owed >= BATCH {
            self.copy_some(newest, writes);
        }
        if !self.has_room(writes) {
            self.renew_all(newest, self.state.entries as usize + writes);
        }
    }

    /// Before so many writes more.
    fn copy_some(&mut self, newest: &ArcSwap<Generation<K, V>>, writes: usize) {
        let entries = std::mem::take(&mut self.owed).saturating_mul(COPIES);
        // Out of its place, so that a panic of a value's clone ends the renewal, and nothing else.
        let mut renewal = match self.renewal.take() {
            Some(renewal) => renewal,
            None if self.is_due() => self.next(writes),
            None => return,
        };
        match renewal.copy(&self.generation, entries) {
            Progress::Done => self.renew(newest, renewal),
            Progress::Going => self.renewal = Some(renewal),
            // A commit of many keys has come in between, which has paid for as much.
            Progress::Full => self.renew_all(newest, self.state.entries as usize + writes),
        }
    }

    /// A generation with room for what there is, and for a new key by every write until all is copied.
    fn next(&self, writes: usize) -> Renewal<K, V> {
        let entries = self.state.entries as usize;
        let keys = if self.is_crowded() { entries * 2 } else { entries };
        let meanwhile = Renewal::<K, V>::writes_of(self.generation.slots(), self.keys, COPIES);
        let in_the_end = entries + meanwhile + writes + 2 * BATCH;
        // An index for five keys has room for more than six.
        Renewal::for_keys(keys.max(in_the_end / 6 * 5), self.generation.hasher().clone())
    }

    fn is_due(&self) -> bool {
        self.is_crowded() || self.pushed - self.state.entries > self.state.entries.max(FEW) * 2
    }

    fn is_crowded(&self) -> bool {
        self.keys > self.generation.slots() / 4 * 3
    }

    fn has_room(&self, writes: usize) -> bool {
        self.pushed as usize + writes <= self.generation.room()
            && self.keys + writes <= self.generation.most_keys()
    }

    fn renew(&mut self, newest: &ArcSwap<Generation<K, V>>, renewal: Renewal<K, V>) {
        let (next, pushed) = renewal.done(self.state);
        let next = Arc::new(next);
        newest.store(Arc::clone(&next));
        let old = std::mem::replace(&mut self.generation, next);
        old.retire();
        (self.pushed, self.keys, self.renewal) = (pushed, pushed as usize, None);
        let replaced = self.history.push(self.state.version, old, Instant::now());
        self.replaced.generations.extend(replaced);
    }

    fn push(&mut self, found: Found, entry: Entry<K, V>) {
        let had = u32::from(found.word.has_value());
        self.state.entries = self.state.entries - had + u32::from(entry.value.is_some());
        self.pushed += 1;
        self.keys += usize::from(found.word.is_empty());
        let slot = self.generation.push(self.pushed, found, entry, self.state);
        if let Some(renewal) = &mut self.renewal {
            renewal.written(slot);
        }
    }

    /// What those who watch a key hear of a write. Comes before the first change, since a clone may panic.
    #[inline]
    fn tidings(&mut self, key: &K, value: Option<&V>) -> Option<Tiding<V>> {
        let those = self.watchers.of(key)?;
        Some((those, value.map(|value| Arc::new(value.clone()))))
    }

    fn publish(&mut self, tidings: impl IntoIterator<Item = Tiding<V>>) -> u64 {
        self.generation.publish(self.pushed);
        self.counts.commits += 1;
        for (those, value) in tidings {
            self.replaced.values.extend(those.tell(self.state.version, value));
        }
        self.state.version
    }
}
