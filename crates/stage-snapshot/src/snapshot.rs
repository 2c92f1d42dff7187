use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::weigh::Weight;

/// One version of all values of a store. Cloning is O(1).
pub struct Snapshot<V> {
    pub(crate) version: Arc<Version<V>>,
}

/// The names of one version.
pub(crate) type Entries<V> = BTreeMap<Arc<str>, Entry<V>>;

/// The table of one version.
pub(crate) struct Version<V> {
    pub(crate) number: u64,
    pub(crate) entries: Entries<V>,
}

/// A value with the number of the version that wrote it.
pub(crate) struct Entry<V> {
    pub(crate) written: u64,
    pub(crate) value: Arc<V>,
    pub(crate) weight: Option<Arc<Weight>>,
}

impl<V> Snapshot<V> {
    /// The value of a name. O(log names).
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&V> {
        self.version.entries.get(name).map(|entry| &*entry.value)
    }

    /// The number of the version that wrote a name's value last; `None` if it has none. O(log names).
    #[must_use]
    pub fn written(&self, name: &str) -> Option<u64> {
        self.version.entries.get(name).map(|entry| entry.written)
    }

    /// The number of this version; every write makes the next one. O(1).
    #[must_use]
    pub fn number(&self) -> u64 {
        self.version.number
    }

    /// All names with their values, sorted by name. O(names).
    pub fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        self.version.entries.iter().map(|(name, entry)| (&**name, &*entry.value))
    }
}

impl<V> Clone for Snapshot<V> {
    fn clone(&self) -> Self {
        Self { version: Arc::clone(&self.version) }
    }
}

impl<V> Clone for Entry<V> {
    fn clone(&self) -> Self {
        Self { written: self.written, value: Arc::clone(&self.value), weight: self.weight.clone() }
    }
}

impl<V: fmt::Debug> fmt::Debug for Snapshot<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
