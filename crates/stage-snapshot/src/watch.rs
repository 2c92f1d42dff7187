use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

/// A write to a watched name.
pub struct Change<V> {
    /// The number of the version that made it, 0 if the name was never written.
    pub version: u64,
    /// The value after it; `None` if the name has none.
    pub value: Option<Arc<V>>,
    /// How many writes to this name came between the change seen before and this one.
    pub skipped: u64,
}

/// The changes of one name, in order. See [`Store::watch`](crate::Store::watch).
pub struct Watch<V> {
    receiver: watch::Receiver<Newest<V>>,
    seen: u64,
}

impl<V> Watch<V> {
    /// Waits for the newest change not seen yet; the first is the value at the time of the call
    /// to `watch`, or a newer one. `None` once the store is gone.
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

/// The newest value of a name, and how many there were since somebody watches.
pub(crate) struct Newest<V> {
    count: u64,
    version: u64,
    value: Option<Arc<V>>,
}

/// Those who watch, by name. A name that nobody watches any more is forgotten at its next write.
pub(crate) struct Watchers<V>(BTreeMap<Box<str>, watch::Sender<Newest<V>>>);

impl<V> Watchers<V> {
    pub(crate) fn new() -> Self {
        Self(BTreeMap::new())
    }

    pub(crate) fn add(&mut self, name: &str, version: u64, value: Option<Arc<V>>) -> Watch<V> {
        let newest = Newest { count: 0, version, value };
        let sender = self.0.entry(Box::from(name)).or_insert_with(|| watch::Sender::new(newest));
        let mut receiver = sender.subscribe();
        receiver.mark_changed();
        let seen = receiver.borrow().count.wrapping_sub(1);
        Watch { receiver, seen }
    }

    pub(crate) fn tell(&mut self, name: &str, version: u64, value: Option<&Arc<V>>) {
        let Some(sender) = self.0.get(name) else { return };
        if sender.receiver_count() == 0 {
            self.0.remove(name);
            return;
        }
        sender.send_modify(|newest| {
            newest.count = newest.count.wrapping_add(1);
            newest.version = version;
            newest.value = value.cloned();
        });
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
