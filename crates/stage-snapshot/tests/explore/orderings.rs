//! The model's atomics, under the names of the store's `sync`.

pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// A cell that is written once. Who does not see that it is written does not see what is in it.
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
