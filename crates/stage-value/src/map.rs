use std::cmp::Ordering;
use std::fmt;
use std::ops::Bound::{Excluded, Unbounded};
use std::slice;
use std::sync::Arc;

use equivalent::Comparable;
use imbl::ordmap::{self, OrdMap};
use imbl::shared_ptr::DefaultSharedPtr;

use crate::{Key, Value};

/// A changed map with more entries than this shares all but a path of them with its origin.
const FLAT: usize = 128;

/// An immutable map with shared entries, ordered by key.
///
/// Cloning is O(1), a lookup O(log n). The order makes equal maps encode to equal bytes.
#[derive(Clone)]
pub struct Map(Entries);

#[derive(Clone)]
enum Entries {
    /// One sorted run, the smallest and fastest to read and to make.
    Flat(Arc<[(Key, Value)]>),
    /// A B+ tree whose nodes are shared with the maps that it was made from.
    Tree(OrdMap<Key, Value>),
}

/// The entries of a [`Map`], in the order of their keys.
#[derive(Clone, Debug)]
pub struct Iter<'a>(Inner<'a>);

#[derive(Clone)]
enum Inner<'a> {
    Flat(slice::Iter<'a, (Key, Value)>),
    Tree(ordmap::Iter<'a, Key, Value, DefaultSharedPtr>),
}

/// A key of bytes that is looked for without making a [`Key`].
struct BytesKey<'a>(&'a [u8]);

impl Map {
    /// A map of the given entries; of entries with equal keys the last one stays. O(n log n).
    #[must_use]
    pub fn from_entries(mut entries: Vec<(Key, Value)>) -> Self {
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        entries.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                std::mem::swap(&mut later.1, &mut earlier.1);
            }
            same
        });
        Self(Entries::Flat(entries.into()))
    }

    /// The value of a key.
    #[must_use]
    pub fn find(&self, key: &Key) -> Option<&Value> {
        match &self.0 {
            Entries::Flat(entries) => {
                let index = entries.binary_search_by(|entry| entry.0.cmp(key)).ok()?;
                entries.get(index).map(|entry| &entry.1)
            }
            Entries::Tree(entries) => entries.get(key),
        }
    }

    /// The value of a key of bytes, without making a [`Key`].
    #[must_use]
    pub fn find_bytes(&self, key: &[u8]) -> Option<&Value> {
        let key = BytesKey(key);
        match &self.0 {
            Entries::Flat(entries) => {
                let index = entries.binary_search_by(|entry| key.compare(&entry.0).reverse());
                entries.get(index.ok()?).map(|entry| &entry.1)
            }
            Entries::Tree(entries) => entries.get(&key),
        }
    }

    /// The first entry behind a key, or of all. O(log n).
    #[must_use]
    pub fn entry_after(&self, key: Option<&Key>) -> Option<(&Key, &Value)> {
        match (&self.0, key) {
            (Entries::Flat(entries), key) => {
                let at = key.map_or(0, |key| entries.partition_point(|entry| entry.0 <= *key));
                entries.get(at).map(|(key, value)| (key, value))
            }
            (Entries::Tree(entries), None) => entries.iter().next(),
            (Entries::Tree(entries), Some(key)) => {
                entries.range::<_, Key>((Excluded(key), Unbounded)).next()
            }
        }
    }

    /// This map with one entry replaced, added or (for `None`) removed.
    ///
    /// O(log n) if this map was made by such a change and is large; else O(n), a pointer per
    /// entry, so that only the first change of a large map costs that.
    #[must_use]
    pub fn with(&self, key: Key, value: Option<Value>) -> Self {
        let mut entries = match &self.0 {
            Entries::Flat(entries) if entries.len() <= FLAT => {
                return Self(Entries::Flat(flat_with(entries, key, value)));
            }
            Entries::Flat(entries) => entries.iter().cloned().collect(),
            Entries::Tree(entries) => entries.clone(),
        };
        match value {
            Some(value) => entries.insert(key, value),
            None => entries.remove(&key),
        };
        Self(Entries::Tree(entries))
    }

    /// All entries in the order of their keys.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter(match &self.0 {
            Entries::Flat(entries) => Inner::Flat(entries.iter()),
            Entries::Tree(entries) => Inner::Tree(entries.iter()),
        })
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Entries::Flat(entries) => entries.len(),
            Entries::Tree(entries) => entries.len(),
        }
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn flat_with(entries: &[(Key, Value)], key: Key, value: Option<Value>) -> Arc<[(Key, Value)]> {
    let at = entries.partition_point(|entry| entry.0 < key);
    let behind = at + usize::from(entries.get(at).is_some_and(|entry| entry.0 == key));
    let new = value.map(|value| (key, value));
    let (before, after) = (&entries[..at], &entries[behind..]);
    before.iter().cloned().chain(new).chain(after.iter().cloned()).collect()
}

impl Comparable<Key> for BytesKey<'_> {
    fn compare(&self, key: &Key) -> Ordering {
        match key {
            Key::Bytes(bytes) => self.0.cmp(bytes),
            // Bytes come last.
            _ => Ordering::Greater,
        }
    }
}

impl equivalent::Equivalent<Key> for BytesKey<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.compare(key) == Ordering::Equal
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a Key, &'a Value);

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Inner::Flat(entries) => entries.next().map(|(key, value)| (key, value)),
            Inner::Tree(entries) => entries.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            Inner::Flat(entries) => entries.size_hint(),
            Inner::Tree(entries) => entries.size_hint(),
        }
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl<'a> IntoIterator for &'a Map {
    type Item = (&'a Key, &'a Value);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl PartialEq for Map {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other)
    }
}

impl FromIterator<(Key, Value)> for Map {
    fn from_iter<I: IntoIterator<Item = (Key, Value)>>(entries: I) -> Self {
        Self::from_entries(entries.into_iter().collect())
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

impl fmt::Debug for Inner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = Iter(self.clone());
        f.debug_list().entries(entries).finish()
    }
}
