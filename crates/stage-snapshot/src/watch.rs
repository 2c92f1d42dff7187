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
    fn of(sender: &watch::Sender<Newest<V>>) -> Self {
        let mut receiver = sender.subscribe();
        receiver.mark_changed();
        let seen = receiver.borrow().count.wrapping_sub(1);
        Self { receiver, seen }
    }

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
    /// From the value as it is, and the version that wrote it, which are asked for if nobody watches the key yet.
    pub(crate) fn add(
        &mut self,
        key: K,
        newest: impl FnOnce(&K) -> Option<(u64, Arc<V>)>,
        forgotten: &mut Vec<Forgotten<K, V>>,
    ) -> Watch<V> {
        if self.by_key.len() >= self.sweep_at {
            let is_over = |_: &K, sender: &mut watch::Sender<_>| sender.receiver_count() == 0;
            let over = self.by_key.extract_if(is_over);
            forgotten.extend(over.map(|(key, sender)| Forgotten(key, Some(sender))));
            self.sweep_at = SWEEP.max(self.by_key.len() * 2);
        }
        if let Some(sender) = self.by_key.get(&key) {
            forgotten.push(Forgotten(key, None));
            return Watch::of(sender);
        }
        let (version, value) =
            newest(&key).map_or((0, None), |(version, value)| (version, Some(value)));
        let sender = watch::Sender::new(Newest { count: 0, version, value });
        let watch = Watch::of(&sender);
        self.by_key.insert(key, sender);
        watch
    }

    /// Those who watch a key that is about to be written, if there are any. O(1), and next to nothing if nobody
    /// watches anything.
    #[inline]
    pub(crate) fn of<Q>(&mut self, key: &Q, forgotten: &mut Vec<Forgotten<K, V>>) -> Option<Told<V>>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        if self.by_key.is_empty() { None } else { self.told(key, forgotten) }
    }

    fn told<Q>(&mut self, key: &Q, forgotten: &mut Vec<Forgotten<K, V>>) -> Option<Told<V>>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let sender = self.by_key.get(key)?;
        if sender.receiver_count() == 0 {
            let over = self.by_key.remove_entry(key);
            forgotten.extend(over.map(|(key, sender)| Forgotten(key, Some(sender))));
            return None;
        }
        Some(Told(sender.clone()))
    }
}

/// A key that nobody watches any more, with the value that was told last, to be freed once others may write again. No
/// value if the key was only asked for.
pub(crate) struct Forgotten<K, V>(
    K,
    #[expect(dead_code, reason = "to be dropped")] Option<watch::Sender<Newest<V>>>,
);

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
