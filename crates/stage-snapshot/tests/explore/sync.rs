//! The explorer's locks, under the names of the store's `sync`.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

pub(crate) mod thread {
    pub(crate) use shuttle::thread::Builder;

    /// Lets others run, whatever their priority in a schedule.
    pub(crate) fn sleep(_: std::time::Duration) {
        shuttle::thread::yield_now();
    }
}

pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

/// `None` only while it waits at a [`Condvar`].
pub(crate) struct MutexGuard<'a, T>(Option<shuttle::sync::MutexGuard<'a, T>>);

pub(crate) struct Condvar(shuttle::sync::Condvar);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(shuttle::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(Some(self.0.lock().unwrap()))
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().unwrap()
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().unwrap()
    }
}

impl Condvar {
    pub(crate) fn new() -> Self {
        Self(shuttle::sync::Condvar::new())
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        guard.0 = guard.0.take().map(|locked| self.0.wait(locked).unwrap());
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
