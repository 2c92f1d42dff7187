use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::{Checkpoint, SaveError, Store};

/// Saves a store's names now and then on a thread of its own, and once more at the end.
pub struct Periodic {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Periodic {
    /// Starts to save the names that are `chosen` every `interval`, whenever the store changed since the last save.
    ///
    /// `saved` hears how each save went; one that failed is tried again after the interval.
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
            let number = snapshot.number();
            if last == Some(number) {
                return;
            }
            let result =
                catch_unwind(AssertUnwindSafe(|| checkpoint.save(&snapshot, &chosen, &encode)));
            let panicked = |_| Err(SaveError::Panicked { path: checkpoint.path().to_owned() });
            let result = result.unwrap_or_else(panicked);
            if result.is_ok() {
                last = Some(number);
            }
            saved(result.map(|()| number));
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

/// Saves what is not saved yet, and waits until it is.
impl Drop for Periodic {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the caller's `saved` ended the thread and was reported there.
            thread.join().ok();
        }
    }
}

impl fmt::Debug for Periodic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Periodic").finish_non_exhaustive()
    }
}
