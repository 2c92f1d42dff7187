use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;

use foldhash::fast::RandomState;

use crate::MapSnapshot;
use crate::map_writing::MapWriting;

/// Reads and writes of several keys of a map that take effect together or not at all.
pub struct MapTransaction<K, V> {
    base: MapSnapshot<K, V>,
    /// The version each key had when it was read.
    reads: HashMap<K, Option<u64>, RandomState>,
    writes: HashMap<K, Option<V>, RandomState>,
}

impl<K: Clone + Eq + Hash, V> MapTransaction<K, V> {
    pub(crate) fn new(base: MapSnapshot<K, V>) -> Self {
        Self { base, reads: HashMap::default(), writes: HashMap::default() }
    }

    /// The value of a key: what this transaction wrote, or else what it was at its begin.
    pub fn get(&mut self, key: &K) -> Option<&V> {
        if let Some(written) = self.writes.get(key) {
            return written.as_ref();
        }
        if !self.reads.contains_key(key) {
            self.reads.insert(key.clone(), self.base.written(key));
        }
        self.base.get(key)
    }

    /// Sets a key's value when the transaction commits. Never conflicts by itself.
    pub fn insert(&mut self, key: K, value: V) {
        self.writes.insert(key, Some(value));
    }

    /// Removes a key when the transaction commits. Never conflicts by itself.
    pub fn remove(&mut self, key: K) {
        self.writes.insert(key, None);
    }

    /// The map as it was at the transaction's begin. What is read of it is not checked when the
    /// transaction commits.
    pub fn base(&self) -> &MapSnapshot<K, V> {
        &self.base
    }

    /// Whether all it read is still so.
    pub(crate) fn holds_in(&self, writing: &MapWriting<K, V>) -> bool {
        self.reads.iter().all(|(key, written)| writing.written(key) == *written)
    }

    pub(crate) fn writes_nothing(&self) -> bool {
        self.writes.is_empty()
    }

    pub(crate) fn writes(&mut self) -> &mut HashMap<K, Option<V>, RandomState> {
        &mut self.writes
    }
}

impl<K: fmt::Debug, V> fmt::Debug for MapTransaction<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapTransaction")
            .field("base", &self.base.number())
            .field("reads", &self.reads)
            .field("writes", &self.writes.keys())
            .finish()
    }
}
