//! The explorer's locks, under the names of the store's `sync`.

use std::sync::Arc;

pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use shuttle::sync::MutexGuard as ShuttleGuard;

pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);
pub(crate) type MutexGuard<'a, T> = ShuttleGuard<'a, T>;

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(shuttle::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap()
    }
}

/// A pointer that is loaded and stored in one step each.
pub(crate) struct ArcSwap<T>(shuttle::sync::Mutex<Arc<T>>);

impl<T> ArcSwap<T> {
    pub(crate) fn new(value: Arc<T>) -> Self {
        Self(shuttle::sync::Mutex::new(value))
    }

    pub(crate) fn from_pointee(value: T) -> Self {
        Self(shuttle::sync::Mutex::new(Arc::new(value)))
    }

    pub(crate) fn load_full(&self) -> Arc<T> {
        Arc::clone(&self.0.lock().unwrap())
    }

    pub(crate) fn store(&self, value: Arc<T>) {
        *self.0.lock().unwrap() = value;
    }
}

/// A cell that is written once; whether it is written may change between any two looks.
pub(crate) struct OnceLock<T> {
    written: AtomicBool,
    content: std::sync::OnceLock<T>,
}

impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        Self { written: AtomicBool::new(false), content: std::sync::OnceLock::new() }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        self.written.load(Ordering::Acquire).then(|| self.content.get()).flatten()
    }

    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        if self.get().is_none() {
            let _ = self.set(make());
        }
        self.content.get().unwrap()
    }

    pub(crate) fn set(&self, content: T) -> Result<(), T> {
        let set = self.content.set(content);
        self.written.store(true, Ordering::Release);
        set
    }
}
