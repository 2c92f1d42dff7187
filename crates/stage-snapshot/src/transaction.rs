use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::Snapshot;

/// Reads and writes of several names that take effect together or not at all.
pub struct Transaction<V> {
    base: Snapshot<V>,
    /// The version each name had when it was read.
    reads: BTreeMap<Box<str>, Option<u64>>,
    writes: BTreeMap<Arc<str>, Option<Arc<V>>>,
}

/// What came of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed<R> {
    /// The number of the version it made, or of the one it read if it wrote nothing. Of a map, that of the newest if all
    /// it wrote was to remove keys that had no value.
    pub version: u64,
    /// What the closure returned.
    pub result: R,
}

impl<V> Transaction<V> {
    pub(crate) fn new(base: Snapshot<V>) -> Self {
        Self { base, reads: BTreeMap::new(), writes: BTreeMap::new() }
    }

    /// The value of a name: what this transaction wrote, or else what it was at its begin.
    pub fn get(&mut self, name: &str) -> Option<&V> {
        if let Some(written) = self.writes.get(name) {
            return written.as_deref();
        }
        if !self.reads.contains_key(name) {
            self.reads.insert(Box::from(name), self.base.written(name));
        }
        self.base.get(name)
    }

    /// Sets a name's value when the transaction commits. Never conflicts by itself.
    pub fn set(&mut self, name: &str, value: V) {
        self.put(name, Some(Arc::new(value)));
    }

    /// Removes a name when the transaction commits. Never conflicts by itself.
    pub fn remove(&mut self, name: &str) {
        self.put(name, None);
    }

    fn put(&mut self, name: &str, value: Option<Arc<V>>) {
        // The version before most often has the name already: then its text is shared.
        let known = self.base.version.entries.get_key_value(name);
        let name = known.map_or_else(|| Arc::from(name), |(name, _)| Arc::clone(name));
        self.writes.insert(name, value);
    }

    pub(crate) fn base_number(&self) -> u64 {
        self.base.number()
    }

    /// Whether all it read is still so.
    pub(crate) fn holds_in(&self, current: &Snapshot<V>) -> bool {
        self.reads.iter().all(|(name, written)| current.written(name) == *written)
    }

    pub(crate) fn take_writes(&mut self) -> BTreeMap<Arc<str>, Option<Arc<V>>> {
        std::mem::take(&mut self.writes)
    }

    /// What it writes; it keeps all of it too.
    pub(crate) fn writes(&self) -> impl Iterator<Item = (Arc<str>, Option<Arc<V>>)> {
        self.writes.iter().map(|(name, value)| (Arc::clone(name), value.clone()))
    }

    pub(crate) fn writes_nothing(&self) -> bool {
        self.writes.is_empty()
    }
}

impl<V> fmt::Debug for Transaction<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("base", &self.base.number())
            .field("reads", &self.reads)
            .field("writes", &self.writes.keys())
            .finish()
    }
}
