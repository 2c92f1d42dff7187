use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Instant;

use foldhash::fast::RandomState;

use crate::generation::{Entry, Generation, State};
use crate::history::History;
use crate::renewal::{Progress, Renewal};
use crate::slot::Found;
use crate::sync::{ArcSwap, Mutex, MutexGuard};
use crate::watch::{Forgotten, Told, Watch, Watchers};

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
    /// The renewal is no good, because a clone panicked in it.
    is_torn: bool,
    /// Writes for which the renewal has copied nothing yet.
    owed: usize,
    history: Arc<History<Generation<K, V>>>,
    watchers: Watchers<K, V>,
    replaced: Replaced<K, V>,
}

/// What may end with a write, once others may write again: destructors take their time, and may use the map.
struct Replaced<K, V> {
    generations: Vec<Arc<Generation<K, V>>>,
    values: Vec<Arc<V>>,
    entries: Vec<Entry<K, V>>,
    /// Those that were given up.
    renewals: Vec<Renewal<K, V>>,
    forgotten: Vec<Forgotten<K, V>>,
}

/// Who may write. Lets others write again when it ends, and only then frees what was replaced, even if a write panicked.
pub(crate) struct Writer<'a, K, V> {
    // Ends first.
    writing: MutexGuard<'a, MapWriting<K, V>>,
    replaced: Option<Replaced<K, V>>,
}

impl<'a, K, V> Writer<'a, K, V> {
    /// Waits until nobody else writes.
    #[inline]
    pub(crate) fn next(writing: &'a Mutex<MapWriting<K, V>>) -> Self {
        Self { writing: writing.lock(), replaced: None }
    }
}

impl<K, V> Deref for Writer<'_, K, V> {
    type Target = MapWriting<K, V>;

    fn deref(&self) -> &MapWriting<K, V> {
        &self.writing
    }
}

impl<K, V> DerefMut for Writer<'_, K, V> {
    fn deref_mut(&mut self) -> &mut MapWriting<K, V> {
        &mut self.writing
    }
}

impl<K, V> Drop for Writer<'_, K, V> {
    #[inline]
    fn drop(&mut self) {
        if !self.writing.replaced.is_empty() {
            self.replaced = Some(std::mem::take(&mut self.writing.replaced));
        }
    }
}

impl<K, V> Default for Replaced<K, V> {
    fn default() -> Self {
        Self {
            generations: Vec::new(),
            values: Vec::new(),
            entries: Vec::new(),
            renewals: Vec::new(),
            forgotten: Vec::new(),
        }
    }
}

impl<K, V> Replaced<K, V> {
    /// Most writes leave nothing.
    fn is_empty(&self) -> bool {
        self.generations.is_empty()
            && self.values.is_empty()
            && self.entries.is_empty()
            && self.renewals.is_empty()
            && self.forgotten.is_empty()
    }
}

/// Who is told what once a commit is there for all to see.
type Tiding<V> = (Told<V>, Option<Arc<V>>);

impl<K, V> MapWriting<K, V> {
    /// Of the first generation, which is empty.
    pub(crate) fn of(
        generation: Arc<Generation<K, V>>,
        history: Arc<History<Generation<K, V>>>,
    ) -> Self {
        Self {
            generation,
            state: State::default(),
            pushed: 0,
            keys: 0,
            renewal: None,
            is_torn: false,
            owed: 0,
            history,
            watchers: Watchers::new(),
            replaced: Replaced::default(),
        }
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
    /// Writes one key as the next version, which it returns; without a value, only if it had one. Takes the entry once
    /// nothing can fail any more, and only if it is written: it is the caller's to free.
    pub(crate) fn write(
        &mut self,
        newest: &ArcSwap<Generation<K, V>>,
        entry: &mut Option<Entry<K, V>>,
    ) -> u64 {
        self.make_room(newest, 1);
        let Some(Entry { key, value }) = &*entry else { return self.state.version };
        let found = self.generation.slot(key, self.generation.hash(key));
        if value.is_none() && !found.word.has_value() {
            return self.state.version;
        }
        let tidings = self.tidings(key, value.as_ref());
        self.state.version += 1;
        if let Some(entry) = entry.take() {
            self.push(found, entry);
        }
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

    /// Writes several keys as the next version, unless that changes nothing. Takes them once nothing can fail any more.
    pub(crate) fn commit(
        &mut self,
        newest: &ArcSwap<Generation<K, V>>,
        writes: &mut HashMap<K, Option<V>, RandomState>,
    ) -> u64 {
        self.make_room(newest, writes.len());
        let changes = |found: &Found, value: &Option<V>| value.is_some() || found.word.has_value();
        // What a key has to say, which may panic, comes before the first change.
        let found: Vec<_> =
            writes.keys().map(|key| self.generation.slot(key, self.generation.hash(key))).collect();
        if !writes.values().zip(&found).any(|(value, found)| changes(found, value)) {
            return self.state.version;
        }
        let changing =
            writes.iter().zip(&found).filter(|((_, value), found)| changes(found, value));
        let tidings: Vec<_> =
            changing.filter_map(|((key, value), _)| self.tidings(key, value.as_ref())).collect();
        self.state.version += 1;
        // In the same order, since nothing was changed.
        for ((key, value), found) in writes.drain().zip(found) {
            if changes(&found, &value) {
                self.push(found, Entry { key, value });
            } else {
                self.replaced.entries.push(Entry { key, value });
            }
        }
        self.publish(tidings)
    }

    /// The changes of a key from now on.
    pub(crate) fn watch(&mut self, key: K) -> Watch<V> {
        let (generation, pushed) = (&self.generation, self.pushed);
        let newest = |key: &K| {
            let value = generation.find(key, pushed)?.value.as_ref()?;
            Some((generation.written(key, pushed)?, Arc::new(value.clone())))
        };
        self.watchers.add(key, newest, &mut self.replaced.forgotten)
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
        self.state.version = 1;
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
        self.give_up();
        self.renewal = Some(Renewal::for_keys(keys, self.generation.hasher().clone()));
        while self.copy(ALL) == Progress::Going {}
        if let Some(renewal) = self.renewal.take() {
            self.renew(newest, renewal);
        }
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
        if self.is_torn {
            self.give_up();
        }
        if self.renewal.is_none() {
            if !self.is_due() {
                return;
            }
            self.renewal = Some(self.next(writes));
        }
        match self.copy(entries) {
            Progress::Going => {}
            Progress::Done => {
                if let Some(renewal) = self.renewal.take() {
                    self.renew(newest, renewal);
                }
            }
            // A commit of many keys has come in between, which has paid for as much.
            Progress::Full => self.renew_all(newest, self.state.entries as usize + writes),
        }
    }

    /// Goes on with the renewal. A panic of a value's clone ends it, and nothing else.
    fn copy(&mut self, entries: usize) -> Progress {
        let Some(renewal) = &mut self.renewal else { return Progress::Done };
        self.is_torn = true;
        let progress = renewal.copy(&self.generation, entries, &mut self.replaced.entries);
        self.is_torn = false;
        progress
    }

    /// Without the renewal that there may be.
    fn give_up(&mut self) {
        self.is_torn = false;
        self.replaced.renewals.extend(self.renewal.take());
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
        (self.pushed, self.keys) = (pushed, pushed as usize);
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
        let those = self.watchers.of(key, &mut self.replaced.forgotten)?;
        Some((those, value.map(|value| Arc::new(value.clone()))))
    }

    fn publish(&mut self, tidings: impl IntoIterator<Item = Tiding<V>>) -> u64 {
        self.generation.publish(self.pushed);
        for (those, value) in tidings {
            self.replaced.values.extend(those.tell(self.state.version, value));
        }
        self.state.version
    }
}
