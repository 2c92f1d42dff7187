use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;

use foldhash::quality::RandomState;
use rpds::HashTrieMapSync;

/// A persistent map: a clone is O(1) and shares everything with its origin until one of both
/// changes, and then all but the path to what changed.
///
/// Meant as a value of a [`Store`](crate::Store) or a [`Cell`](crate::Cell). A hash array mapped
/// trie (Bagwell, 2001) from `rpds`; neither keys nor values need be `Clone`.
pub struct Table<K: Eq + Hash, V> {
    entries: HashTrieMapSync<K, V, RandomState>,
}

impl<K: Eq + Hash, V> Table<K, V> {
    /// A table without entries.
    #[must_use]
    pub fn new() -> Self {
        let entries = HashTrieMapSync::new_with_hasher_and_ptr_kind(RandomState::default());
        Self { entries }
    }

    /// The value of a key. O(log entries), to the base 64.
    #[must_use]
    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.entries.get(key)
    }

    /// Sets the value of a key in this table and no clone of it. O(log entries), to the base 64.
    pub fn insert(&mut self, key: K, value: V) {
        self.entries.insert_mut(key, value);
    }

    /// Removes a key; false if it was not there. O(log entries), to the base 64.
    pub fn remove<Q>(&mut self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.entries.remove_mut(key)
    }

    /// How many entries there are. O(1).
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.size()
    }

    /// Whether there are none. O(1).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All entries, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter()
    }
}

impl<K: Eq + Hash, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        Self { entries: self.entries.clone() }
    }
}

impl<K: Eq + Hash, V> Default for Table<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Eq + Hash, V> FromIterator<(K, V)> for Table<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut table = Self::new();
        for (key, value) in entries {
            table.insert(key, value);
        }
        table
    }
}

impl<K: Eq + Hash + fmt::Debug, V: fmt::Debug> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
