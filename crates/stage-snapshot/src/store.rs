use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use crate::Snapshot;
use crate::snapshot::{Entry, Version};

/// How often an update computes anew before it queues.
const ATTEMPTS: usize = 16;

/// Named values of which readers see whole versions.
pub struct Store<V> {
    current: ArcSwap<Version<V>>,
    writing: Mutex<()>,
}

impl<V> Store<V> {
    /// A store without names.
    #[must_use]
    pub fn new() -> Self {
        let empty = Version { number: 0, entries: BTreeMap::new() };
        Self { current: ArcSwap::from_pointee(empty), writing: Mutex::new(()) }
    }

    /// The newest version of everything. Wait-free.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot<V> {
        Snapshot { version: self.current.load_full() }
    }

    /// Replaces a name's value by one computed from it; `None` removes the name.
    ///
    /// `compute` gets the newest value and may be called several times: again whenever another
    /// writer of the same name was first, 16 times at most, then once more while other
    /// writers wait. It must not write to this store. If it fails or panics, nothing changes.
    /// Returns the number of the version that was made. O(names).
    ///
    /// # Errors
    /// What `compute` returned.
    pub fn update<E>(
        &self,
        name: &str,
        mut compute: impl FnMut(Option<&V>) -> Result<Option<V>, E>,
    ) -> Result<u64, E> {
        for _ in 0..ATTEMPTS {
            let base = self.snapshot();
            let value = compute(base.get(name))?;
            let guard = self.lock();
            if self.snapshot().written(name) == base.written(name) {
                return Ok(self.publish(&guard, name, value));
            }
        }
        let guard = self.lock();
        let value = compute(self.snapshot().get(name))?;
        Ok(self.publish(&guard, name, value))
    }

    /// Makes the next version; the guard proves that no other writer does.
    fn publish(&self, _guard: &MutexGuard<'_, ()>, name: &str, value: Option<V>) -> u64 {
        let current = self.current.load_full();
        let number = current.number + 1;
        let mut entries = current.entries.clone();
        match value {
            Some(value) => {
                let entry = Entry { written: number, value: Arc::new(value) };
                entries.insert(Arc::from(name), entry);
            }
            None => {
                entries.remove(name);
            }
        }
        self.current.store(Arc::new(Version { number, entries }));
        number
    }

    /// A writer that panicked published nothing, so its poison means nothing.
    fn lock(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Default for Store<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V: fmt::Debug> fmt::Debug for Store<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.snapshot(), f)
    }
}
