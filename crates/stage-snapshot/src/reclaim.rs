use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::sync::{Condvar, Mutex, thread};

/// A version just replaced is kept for those who are reading it. So many of them; then it is the
/// writer who frees it, which is cheapest, because it has made it.
const RECENT: usize = 8;

/// How many versions that outlast this may wait for the thread; beyond that, whoever lets go of one
/// last frees it.
const HELD: usize = 1024;

/// How often the thread looks whether the snapshots of what it has are gone.
const LOOK: Duration = Duration::from_millis(20);

/// Keeps replaced versions until nobody reads them, so that it is never a reader who frees one.
/// Dropping it lets go of all and ends its thread.
pub(crate) struct Reclaimer<T>(Arc<Shared<T>>);

struct Shared<T> {
    kept: Mutex<Kept<T>>,
    something: Condvar,
}

struct Kept<T> {
    recent: VecDeque<Arc<T>>,
    held: Vec<Arc<T>>,
    /// The thread waits to be told that there is something.
    asleep: bool,
    closed: bool,
}

impl<T> Reclaimer<T> {
    /// Takes a version that was just replaced, and gives one back that the writer frees. O(1); wakes the thread if it had
    /// nothing to do.
    pub(crate) fn take(&self, replaced: Arc<T>) -> Option<Arc<T>> {
        let mut kept = self.0.kept.lock();
        kept.recent.push_back(replaced);
        let oldest = (kept.recent.len() > RECENT).then(|| kept.recent.pop_front()).flatten();
        let oldest = match oldest {
            Some(oldest) if is_held(&oldest) && kept.held.len() < HELD => {
                kept.held.push(oldest);
                None
            }
            other => other,
        };
        let asleep = std::mem::take(&mut kept.asleep);
        drop(kept);
        if asleep {
            self.0.something.notify_one();
        }
        oldest
    }
}

impl<T: Send + Sync + 'static> Reclaimer<T> {
    /// Starts the thread.
    pub(crate) fn start() -> io::Result<Self> {
        let kept = Kept { recent: VecDeque::new(), held: Vec::new(), asleep: false, closed: false };
        let shared = Arc::new(Shared { kept: Mutex::new(kept), something: Condvar::new() });
        let of_thread = Arc::clone(&shared);
        thread::Builder::new()
            .name("stage-snapshot-reclaim".to_owned())
            .spawn(move || while of_thread.round() {})?;
        Ok(Self(shared))
    }
}

impl<T> Shared<T> {
    /// Waits until there is something, gives readers time, and frees what they are done with. False
    /// once the store is gone.
    fn round(&self) -> bool {
        let mut kept = self.kept.lock();
        while kept.recent.is_empty() && kept.held.is_empty() && !kept.closed {
            kept.asleep = true;
            self.something.wait(&mut kept);
        }
        if !kept.closed {
            // Without the lock, and without an ear for writers, who would have to wake it.
            drop(kept);
            thread::sleep(LOOK);
            kept = self.kept.lock();
        }
        let Kept { recent, held, closed, .. } = &mut *kept;
        held.extend(recent.drain(..));
        let done: Vec<_> = held.extract_if(.., |version| *closed || !is_held(version)).collect();
        let open = !*closed;
        drop(kept);
        for version in done {
            // What a value does at its end is its own affair, and was reported by the panic.
            drop(catch_unwind(AssertUnwindSafe(|| drop(version))));
        }
        open
    }
}

impl<T> Drop for Reclaimer<T> {
    fn drop(&mut self) {
        self.0.kept.lock().closed = true;
        self.0.something.notify_one();
    }
}

/// Whether anybody has a version beside the reclaimer.
fn is_held<T>(version: &Arc<T>) -> bool {
    Arc::strong_count(version) > 1
}
