use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::{Checkpoint, SaveError, Snapshot, Store};

/// Saves a store's names now and then on a thread of its own, and once more at the end.
pub struct Periodic {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Periodic {
    /// Starts to save the names that are `chosen` every `interval`, whenever one of them was written since the last save;
    /// the first time in any case.
    ///
    /// `saved` hears how each save went; one that failed is tried again after the interval. If `saved` panics, saving goes
    /// on. A look costs O(names), a save also O(bytes).
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn start<V: Send + Sync + 'static>(
        store: Arc<Store<V>>,
        checkpoint: Checkpoint,
        chosen: impl Fn(&str) -> bool + Send + 'static,
        interval: Duration,
        encode: impl Fn(&V) -> Vec<u8> + Send + 'static,
        mut saved: impl FnMut(Result<u64, SaveError>) + Send + 'static,
    ) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let mut last = None;
        let mut save = move || {
            let snapshot = store.snapshot();
            let saving = catch_unwind(AssertUnwindSafe(|| {
                let newest = chosen_of(&snapshot, &chosen);
                if last.as_ref() == Some(&newest) {
                    return None;
                }
                let result = checkpoint.save(&snapshot, |name| newest.contains_key(name), &encode);
                Some(result.map(|()| newest))
            }));
            let panicked =
                |_| Some(Err(SaveError::Panicked { path: checkpoint.path().to_owned() }));
            let Some(result) = saving.unwrap_or_else(panicked) else { return };
            let result = result.map(|newest| {
                last = Some(newest);
                snapshot.number()
            });
            // Its panic is reported as any other is; what is written later is to be saved all the same.
            drop(catch_unwind(AssertUnwindSafe(|| saved(result))));
        };
        let thread =
            thread::Builder::new().name("stage-snapshot-save".to_owned()).spawn(move || {
                while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                    save();
                }
                save();
            })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

/// The names to save, each with the version that wrote it: what was saved is up to date as long as these are the same.
fn chosen_of<V>(snapshot: &Snapshot<V>, chosen: impl Fn(&str) -> bool) -> BTreeMap<Arc<str>, u64> {
    let entries = snapshot.version.entries.iter().filter(|(name, _)| chosen(name));
    entries.map(|(name, entry)| (Arc::clone(name), entry.written)).collect()
}

/// Saves what is not saved yet, and waits until it is.
impl Drop for Periodic {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It ends without a panic: those of what the caller gave are caught.
            thread.join().ok();
        }
    }
}

impl fmt::Debug for Periodic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Periodic").finish_non_exhaustive()
    }
}
