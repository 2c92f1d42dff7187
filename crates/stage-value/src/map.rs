use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::Value;

/// The key of a map entry: any scalar but nil and NaN.
///
/// A float with an integer value is that integer, as in Lua: `Key::float(2.0)` is `Key::Int(2)`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Key {
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float that is neither an integer nor NaN; [`Key::float`] makes one.
    Float(f64),
    /// Bytes, text among them.
    Bytes(Bytes),
}

impl Key {
    /// Bytes copied from a string or a slice.
    #[must_use]
    pub fn bytes(data: impl AsRef<[u8]>) -> Self {
        Self::Bytes(Bytes::copy_from_slice(data.as_ref()))
    }

    /// A float as a key; `None` for NaN, which equals nothing.
    #[must_use]
    pub fn float(value: f64) -> Option<Self> {
        const INTEGERS: std::ops::Range<f64> =
            -9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0;
        if value.is_nan() {
            None
        } else if value.fract() == 0.0 && INTEGERS.contains(&value) {
            Some(Self::Int(value as i64))
        } else {
            Some(Self::Float(value))
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Bool(_) => 0,
            Self::Int(_) => 1,
            Self::Float(_) => 2,
            Self::Bytes(_) => 3,
        }
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Float(a), Self::Float(b)) => a.total_cmp(b),
            (Self::Bytes(a), Self::Bytes(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key {}

impl From<&str> for Key {
    fn from(value: &str) -> Self {
        Self::bytes(value)
    }
}

impl From<i64> for Key {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

/// An immutable map with shared entries, ordered by key.
///
/// Cloning is O(1), a lookup O(log n). The order makes equal maps encode to equal bytes.
#[derive(Clone, PartialEq)]
pub struct Map(Arc<[(Key, Value)]>);

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
        Self(entries.into())
    }

    /// The value of a key.
    #[must_use]
    pub fn find(&self, key: &Key) -> Option<&Value> {
        let index = self.0.binary_search_by(|entry| entry.0.cmp(key)).ok()?;
        self.0.get(index).map(|entry| &entry.1)
    }

    /// The value of a key of bytes, without making a [`Key`].
    #[must_use]
    pub fn find_bytes(&self, key: &[u8]) -> Option<&Value> {
        let index = self.0.binary_search_by(|entry| match &entry.0 {
            Key::Bytes(bytes) => (**bytes).cmp(key),
            _ => Ordering::Less,
        });
        self.0.get(index.ok()?).map(|entry| &entry.1)
    }

    /// The entries behind a key, or all of them. O(log n).
    #[must_use]
    pub fn entries_after(&self, key: Option<&Key>) -> &[(Key, Value)] {
        let Some(key) = key else { return &self.0 };
        let start = self.0.partition_point(|entry| entry.0 <= *key);
        &self.0[start..]
    }

    /// This map with one entry replaced, added or (for `None`) removed. O(n), a pointer per entry.
    #[must_use]
    pub fn with(&self, key: Key, value: Option<Value>) -> Self {
        let at = self.0.partition_point(|entry| entry.0 < key);
        let behind = at + usize::from(self.0.get(at).is_some_and(|entry| entry.0 == key));
        let new = value.map(|value| (key, value));
        let (before, after) = (&self.0[..at], &self.0[behind..]);
        Self(before.iter().cloned().chain(new).chain(after.iter().cloned()).collect())
    }

    /// All entries in the order of their keys.
    #[must_use]
    pub fn entries(&self) -> &[(Key, Value)] {
        &self.0
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Key, Value)> for Map {
    fn from_iter<I: IntoIterator<Item = (Key, Value)>>(entries: I) -> Self {
        Self::from_entries(entries.into_iter().collect())
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(key, value)| (key, value))).finish()
    }
}
