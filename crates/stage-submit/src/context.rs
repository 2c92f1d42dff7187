//! Which job is running, as far as anybody can know.

use std::cell::Cell;

use crate::key::Key;
use crate::shard::{Pass, Root};
use crate::sync::{Arc, thread_local};
use crate::waits::Waiter;

/// The job that is running: who waits, if it waits for another job.
///
/// The driver sets it while it polls a job, so inside a job [`JobContext::current`] finds it
/// without being told. It does not follow into tasks or threads that the job starts: code that
/// carries on a job elsewhere takes the context along and waits with
/// [`Handle::on_behalf_of`](crate::Handle::on_behalf_of).
#[derive(Clone, Debug)]
pub struct JobContext {
    pub(crate) root: Arc<Root>,
    pub(crate) waiter: Waiter,
}

impl JobContext {
    /// The job that is being polled on this thread, if any.
    #[must_use]
    pub fn current() -> Option<Self> {
        let context = CURRENT.try_with(|current| {
            let seat = current.take()?;
            let context = seat.context();
            current.set(Some(seat));
            Some(context)
        });
        context.ok().flatten()
    }

    /// The key that the job runs under.
    #[must_use]
    pub fn key(&self) -> Key {
        self.waiter.key()
    }
}

thread_local! {
    static CURRENT: Cell<Option<Seat>> = const { Cell::new(None) };
}

/// What a running job is known by. It moves into the thread's slot for the time of a poll and
/// back, so that naming the running job costs no reference count.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) shard: Arc<Pass>,
    pub(crate) key: Key,
    pub(crate) id: u64,
}

impl Seat {
    pub(crate) fn waiter(&self) -> Waiter {
        Waiter::of(&self.key, self.id)
    }

    fn context(&self) -> JobContext {
        JobContext { root: Arc::clone(&self.shard.root), waiter: self.waiter() }
    }
}

/// Calls into a job, named by `seat` meanwhile. The call must not unwind.
pub(crate) fn seated<T>(seat: &mut Option<Seat>, call: impl FnOnce() -> T) -> T {
    let outer = CURRENT.try_with(|current| current.replace(seat.take()));
    let result = call();
    if let Ok(outer) = outer {
        // The slot of a thread that is going away keeps nothing; the seat is lost with it.
        *seat = CURRENT.try_with(|current| current.replace(outer)).ok().flatten();
    }
    result
}
