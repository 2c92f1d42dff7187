use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use crate::Map;
use crate::generation::Generation;

/// One version of a [`Map`]. Cloning is O(1).
///
/// It keeps alive the map's memory as it was until the map next shed what is outdated; nothing that is
/// written after that.
pub struct MapSnapshot<K, V> {
    generation: Arc<Generation<K, V>>,
    upto: u32,
}

/// Reads a [`Map`] again and again, for less than a [`snapshot`](Map::snapshot) each time: what two threads
/// would contend for is touched only when the map has moved to new memory.
///
/// For one thread, or one task. It keeps a version alive until it is asked for the next one.
pub struct MapReader<'a, K, V> {
    map: &'a Map<K, V>,
    snapshot: MapSnapshot<K, V>,
}

impl<K, V> MapSnapshot<K, V> {
    /// The newest version of a generation.
    pub(crate) fn newest(generation: Arc<Generation<K, V>>) -> Self {
        let upto = generation.published();
        Self { generation, upto }
    }

    /// The number of this version; every write makes the next one. O(1).
    #[must_use]
    pub fn number(&self) -> u64 {
        self.generation.state(self.upto).version
    }

    /// How many keys have a value. O(1).
    #[must_use]
    pub fn len(&self) -> usize {
        self.generation.state(self.upto).entries as usize
    }

    /// Whether no key has a value. O(1).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many writes are kept beside the newest of each key that has a value.
    pub(crate) fn outdated(&self) -> usize {
        self.upto as usize - self.len()
    }

    /// All keys that have a value, in no particular order. O(entries).
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        (0..self.generation.slots()).filter_map(|slot| {
            let newest = self.generation.at(slot)?.newest();
            let entry = self.generation.entry(self.generation.visible(newest, self.upto)?)?;
            Some((&entry.key, entry.value.as_ref()?))
        })
    }
}

impl<K: Eq + Hash, V> MapSnapshot<K, V> {
    /// The value of a key. Wait-free; O(1), or O(log writes) for a key that was written after this version.
    #[must_use]
    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.generation.find(key, self.upto)?.value.as_ref()
    }

    /// The number of the version that wrote a key's value last; `None` if it has none.
    /// Wait-free; O(1), or O(log writes) for a key that was written after this version.
    #[must_use]
    pub fn written<Q>(&self, key: &Q) -> Option<u64>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.generation.written(key, self.upto)
    }
}

impl<'a, K, V> MapReader<'a, K, V> {
    pub(crate) fn new(map: &'a Map<K, V>) -> Self {
        Self { map, snapshot: map.snapshot() }
    }

    /// The newest version. Wait-free; O(1), but if the map has moved to new memory it may fall to this call to free the old.
    pub fn newest(&mut self) -> &MapSnapshot<K, V> {
        if self.snapshot.generation.is_retired() {
            self.snapshot = self.map.snapshot();
        } else {
            self.snapshot.upto = self.snapshot.generation.published();
        }
        &self.snapshot
    }
}

impl<K, V> Clone for MapSnapshot<K, V> {
    fn clone(&self) -> Self {
        Self { generation: Arc::clone(&self.generation), upto: self.upto }
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for MapSnapshot<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K, V> fmt::Debug for MapReader<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapReader").field("number", &self.snapshot.number()).finish_non_exhaustive()
    }
}
