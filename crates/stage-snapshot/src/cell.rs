use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;

/// One value that is replaced as a whole: a [`Store`](crate::Store) of a single, nameless value.
pub struct Cell<T> {
    current: ArcSwap<T>,
    writing: Mutex<()>,
}

/// The value a [`Cell`] had when it was loaded; no later write changes it.
pub struct Ref<T>(Guard<Arc<T>>);

impl<T> Cell<T> {
    /// A cell that holds a value. O(1).
    #[must_use]
    pub fn new(value: T) -> Self {
        Self { current: ArcSwap::from_pointee(value), writing: Mutex::new(()) }
    }

    /// The newest value. Wait-free; O(1), cheapest when the result is dropped soon.
    #[must_use]
    pub fn load(&self) -> Ref<T> {
        Ref(self.current.load())
    }

    /// The newest value, counted by reference, to keep for long. Wait-free; O(1).
    #[must_use]
    pub fn load_full(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// Replaces the value. O(threads that load): each may be at it without having counted.
    pub fn set(&self, value: T) {
        let queue = self.writing.lock();
        let replaced = self.current.swap(Arc::new(value));
        // Its destructor takes its time, and may use the cell.
        drop(queue);
        drop(replaced);
    }

    /// Replaces the value by one computed from it.
    ///
    /// Writers queue, so `compute` runs once and must not write to this cell. If it fails or
    /// panics, nothing changes. O(threads that load).
    ///
    /// # Errors
    /// What `compute` returned.
    pub fn update<E>(&self, compute: impl FnOnce(&T) -> Result<T, E>) -> Result<(), E> {
        let queue = self.writing.lock();
        let next = compute(&self.current.load())?;
        let replaced = self.current.swap(Arc::new(next));
        drop(queue);
        drop(replaced);
        Ok(())
    }
}

impl<T> Cell<T> {
    /// Replaces the value if it is still the one that was `seen`.
    ///
    /// The value itself is what is compared, not what it says: a `seen` is never mistaken for a value that was set
    /// later, since it keeps its own alive. O(threads that load), O(1) if it is another one.
    ///
    /// # Errors
    /// The value as it is, if another writer was first; nothing changes then.
    pub fn compare_and_set(&self, seen: &Ref<T>, value: T) -> Result<(), Ref<T>> {
        let queue = self.writing.lock();
        let current = self.load();
        if !Arc::ptr_eq(&current.0, &seen.0) {
            return Err(current);
        }
        let replaced = self.current.swap(Arc::new(value));
        drop(queue);
        drop(replaced);
        Ok(())
    }
}

impl<T> Deref for Ref<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Default> Default for Cell<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: fmt::Debug> fmt::Debug for Cell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cell").field(&*self.load()).finish()
    }
}

impl<T: fmt::Debug> fmt::Debug for Ref<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
