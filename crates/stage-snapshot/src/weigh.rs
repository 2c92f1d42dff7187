use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Weighs values as they are written, and knows how much of that is alive.
pub(crate) struct Scales<V> {
    weigh: Box<dyn Fn(&V) -> usize + Send + Sync>,
    total: Arc<AtomicU64>,
}

/// The bytes of one value, on the scales as long as any version has it.
pub(crate) struct Weight {
    bytes: u64,
    total: Arc<AtomicU64>,
}

impl<V> Scales<V> {
    pub(crate) fn new(weigh: impl Fn(&V) -> usize + Send + Sync + 'static) -> Self {
        Self { weigh: Box::new(weigh), total: Arc::default() }
    }

    pub(crate) fn weigh(&self, value: &V) -> Arc<Weight> {
        let bytes = (self.weigh)(value) as u64;
        self.total.fetch_add(bytes, Ordering::Relaxed);
        Arc::new(Weight { bytes, total: Arc::clone(&self.total) })
    }

    pub(crate) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
