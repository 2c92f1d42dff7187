use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;

use foldhash::fast::RandomState;
use imbl::GenericHashMap;
use imbl::shared_ptr::DefaultSharedPtr;

/// A persistent map: a clone is O(1) and shares everything with its origin until one of both
/// changes, and then all but the path to what changed.
///
/// Meant as a value of a [`Store`](crate::Store) or a [`Cell`](crate::Cell), where a table is a value among
/// others: cloned, changed, and kept or thrown away. If one table is all there is, a [`Map`](crate::Map) reads
/// and writes it for less. A hash array mapped
/// trie (Bagwell, 2001) from `imbl`. A change clones the entries beside the changed one, about 16,
/// so what is dear to clone belongs behind an [`Arc`](std::sync::Arc).
pub struct Table<K, V> {
    entries: GenericHashMap<K, V, RandomState, DefaultSharedPtr>,
}

impl<K: Clone + Eq + Hash, V: Clone> Table<K, V> {
    /// A table without entries.
    #[must_use]
    pub fn new() -> Self {
        Self { entries: GenericHashMap::default() }
    }

    /// The value of a key. O(log entries), to the base 32.
    #[must_use]
    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.entries.get(key)
    }

    /// Sets the value of a key in this table and no clone of it. O(log entries), to the base 32.
    pub fn insert(&mut self, key: K, value: V) {
        self.entries.insert(key, value);
    }

    /// Removes a key; false if it was not there. O(log entries), to the base 32.
    pub fn remove<Q>(&mut self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.entries.remove(key).is_some()
    }

    /// How many entries there are. O(1).
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none. O(1).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All entries, in no particular order. O(entries).
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter()
    }
}

impl<K: Clone, V: Clone> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        Self { entries: self.entries.clone() }
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Default for Table<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Clone + Eq + Hash, V: Clone> FromIterator<(K, V)> for Table<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut table = Self::new();
        for (key, value) in entries {
            table.insert(key, value);
        }
        table
    }
}

impl<K: Clone + Eq + Hash + fmt::Debug, V: Clone + fmt::Debug> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
