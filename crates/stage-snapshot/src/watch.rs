use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use foldhash::fast::RandomState;
use tokio::sync::watch;

/// As many watched names or keys as are not worth a sweep.
const SWEEP: usize = 64;

/// A write to a watched name or key.
pub struct Change<V> {
    /// The number of the version that made it, 0 if there was no value when the watch began and it is not known since when.
    pub version: u64,
    /// The value after it; `None` if there is none.
    pub value: Option<Arc<V>>,
    /// How many writes to it came between the change seen before and this one.
    pub skipped: u64,
}

/// The changes of one name or key, in order. See [`Store::watch`](crate::Store::watch) and
/// [`Map::watch`](crate::Map::watch).
pub struct Watch<V> {
    receiver: watch::Receiver<Newest<V>>,
    seen: u64,
}

impl<V> Watch<V> {
    /// Waits for the newest change not seen yet; the first is the value at the time of the call
    /// to `watch`, or a newer one. `None` once the store or map is gone.
    ///
    /// Runs on any executor, and may be dropped while it waits without losing a change.
    pub async fn next(&mut self) -> Option<Change<V>> {
        self.receiver.changed().await.ok()?;
        let newest = self.receiver.borrow_and_update().clone();
        let skipped = newest.count.wrapping_sub(self.seen).wrapping_sub(1);
        self.seen = newest.count;
        Some(Change { version: newest.version, value: newest.value, skipped })
    }
}

/// The newest value, and how many there were since somebody watches.
pub(crate) struct Newest<V> {
    count: u64,
    version: u64,
    value: Option<Arc<V>>,
}

/// Those who watch, by name or key. What nobody watches any more is forgotten at its next write, or once as much again
/// is watched.
pub(crate) struct Watchers<K, V> {
    by_key: HashMap<K, watch::Sender<Newest<V>>, RandomState>,
    sweep_at: usize,
}

impl<K, V> Watchers<K, V> {
    pub(crate) fn new() -> Self {
        Self { by_key: HashMap::default(), sweep_at: SWEEP }
    }
}

impl<K: Eq + Hash, V> Watchers<K, V> {
    /// From the value as it is, of the version that wrote it.
    pub(crate) fn add(&mut self, key: K, version: u64, value: Option<Arc<V>>) -> Watch<V> {
        if self.by_key.len() >= self.sweep_at {
            self.by_key.retain(|_, sender| sender.receiver_count() > 0);
            self.sweep_at = SWEEP.max(self.by_key.len() * 2);
        }
        let newest = Newest { count: 0, version, value };
        let sender = self.by_key.entry(key).or_insert_with(|| watch::Sender::new(newest));
        let mut receiver = sender.subscribe();
        receiver.mark_changed();
        let seen = receiver.borrow().count.wrapping_sub(1);
        Watch { receiver, seen }
    }

    /// Those who watch a key that is about to be written, if there are any. O(1), and next to nothing if nobody
    /// watches anything.
    #[inline]
    pub(crate) fn of<Q>(&mut self, key: &Q) -> Option<Told<V>>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        if self.by_key.is_empty() { None } else { self.told(key) }
    }

    fn told<Q>(&mut self, key: &Q) -> Option<Told<V>>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let sender = self.by_key.get(key)?;
        if sender.receiver_count() == 0 {
            self.by_key.remove(key);
            return None;
        }
        Some(Told(sender.clone()))
    }
}

/// Those who watch one key.
pub(crate) struct Told<V>(watch::Sender<Newest<V>>);

impl<V> Told<V> {
    /// After the write is there for all to see. Gives back the value before, to be freed once others may write again.
    #[must_use]
    pub(crate) fn tell(&self, version: u64, mut value: Option<Arc<V>>) -> Option<Arc<V>> {
        self.0.send_modify(|newest| {
            newest.count = newest.count.wrapping_add(1);
            newest.version = version;
            std::mem::swap(&mut newest.value, &mut value);
        });
        value
    }
}

impl<V> Clone for Newest<V> {
    fn clone(&self) -> Self {
        Self { count: self.count, version: self.version, value: self.value.clone() }
    }
}

impl<V: fmt::Debug> fmt::Debug for Change<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change")
            .field("version", &self.version)
            .field("value", &self.value)
            .field("skipped", &self.skipped)
            .finish()
    }
}

impl<V> fmt::Debug for Watch<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("seen", &self.seen).finish_non_exhaustive()
    }
}
