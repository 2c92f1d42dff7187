//! One share of the keys: the decision core under a lock, and what all shares have in common.

use std::task::Waker;
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;
use foldhash::fast::RandomState;
use tokio::sync::Notify;

use crate::error::{JobError, Scope, SubmitError};
use crate::free::FreeJobs;
use crate::gate::Gate;
use crate::job::Queued;
use crate::key::Hashed;
use crate::lanes::{Cancelled, Id, Lanes};
use crate::limits::Limits;
use crate::rt::{self, Runtime};
use crate::sync::{Arc, AtomicU64, Mutex, MutexGuard, Ordering, lock};
use crate::tally::Tally;
use crate::turn::Turn;
use crate::waits::{WaitGraph, Waiter};

/// One in so many looks at the time that a turn keeps is at the clock.
const LOOKS: u64 = 8;

/// What all shards of a scheduler share.
#[derive(Debug)]
pub(crate) struct Root {
    pub(crate) limits: Limits,
    pub(crate) began: Instant,
    pub(crate) gate: Gate,
    pub(crate) runtime: Runtime,
    pub(crate) waits: Mutex<WaitGraph>,
    /// Waits that have begun so far; zero spares every job's end a look at the graph.
    pub(crate) waits_begun: AtomicU64,
    /// The door is closed and nobody is inside.
    pub(crate) emptied: Notify,
    /// The door has closed.
    pub(crate) closing: Notify,
    /// One once running jobs are to end as well.
    aborted: AtomicU64,
}

impl Root {
    pub(crate) fn new(limits: Limits, runtime: Runtime) -> Self {
        Self {
            limits,
            began: rt::now(),
            gate: Gate::new(&limits),
            runtime,
            waits: Mutex::new(WaitGraph::new()),
            waits_begun: AtomicU64::new(0),
            emptied: Notify::new(),
            closing: Notify::new(),
            aborted: AtomicU64::new(0),
        }
    }

    pub(crate) fn enter(&self, bytes: u64) -> Result<(), SubmitError> {
        self.gate.enter(bytes).map_err(|refused| {
            if refused.emptied {
                self.emptied.notify_waiters();
            }
            refused.error
        })
    }

    pub(crate) fn leave(&self, jobs: u64, bytes: u64) {
        if self.gate.leave(jobs, bytes) {
            self.emptied.notify_waiters();
        }
    }

    pub(crate) fn forget_waits(&self, waiter: impl FnOnce() -> Waiter) {
        if self.waits_begun.load(Ordering::Relaxed) > 0 {
            lock(&self.waits).forget(&waiter());
        }
    }

    pub(crate) fn abort(&self) {
        self.aborted.store(1, Ordering::Release);
    }

    /// Why a repeating job may not run again.
    pub(crate) fn repeat_ended(&self) -> JobError {
        if self.gate.is_closed() { JobError::Closed } else { JobError::Cancelled }
    }

    /// Why a running job was told to end.
    pub(crate) fn interruption(&self) -> JobError {
        match self.aborted.load(Ordering::Acquire) {
            0 => JobError::Cancelled,
            _ => JobError::Closed,
        }
    }
}

/// One share of the keys.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) root: Arc<Root>,
    pub(crate) state: CachePadded<Mutex<State>>,
    /// Counts cancellations of running jobs, so that a turn holder sees without the lock
    /// that it has to look.
    pub(crate) cancels: AtomicU64,
    /// A recent moment, in nanoseconds since the root's beginning, while a turn is running
    /// short jobs; else zero. It saves those who queue up behind them a look at the clock.
    moment: AtomicU64,
    /// How often that was looked at, about: every so often the one who looks brings it up to date,
    /// so that it does not lag behind for long if the turn waits for other tasks.
    looks: AtomicU64,
    /// Hash of a key that had a queue when it was last submitted to, or zero: a guess that only
    /// decides which way a job is started in, never whether.
    busy: AtomicU64,
    pub(crate) free: FreeJobs,
    pub(crate) alarm: Notify,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) lanes: Lanes<Queued, Waker>,
    pub(crate) tally: Tally,
    /// When the alarm task looks next; none runs if `None`.
    pub(crate) alarm_at: Option<Instant>,
}

impl Shard {
    pub(crate) fn new(root: Arc<Root>, number: u64, hasher: RandomState) -> Self {
        let state = State { lanes: Lanes::new(hasher), tally: Tally::default(), alarm_at: None };
        Self {
            root,
            state: CachePadded::new(Mutex::new(state)),
            cancels: AtomicU64::new(0),
            moment: AtomicU64::new(0),
            looks: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            free: FreeJobs::new(number),
            alarm: Notify::new(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Whether a job of this key will probably have to wait, so that it can be made ready for
    /// the queue before the lock is taken.
    pub(crate) fn expects_queue(&self, hash: u64) -> bool {
        self.busy.load(Ordering::Relaxed) == hash
    }

    /// Notes whether a job of this key had to wait.
    pub(crate) fn expect_queue(&self, hash: u64, waited: bool) {
        if self.expects_queue(hash) != waited {
            self.busy.store(if waited { hash } else { 0 }, Ordering::Relaxed);
        }
    }

    /// Now, or a little earlier if a turn keeps the time.
    pub(crate) fn about_now(&self) -> Instant {
        let moment = self.moment.load(Ordering::Relaxed);
        if moment == 0 {
            return rt::now();
        }
        let looks = self.looks.load(Ordering::Relaxed);
        self.looks.store(looks.wrapping_add(1), Ordering::Relaxed);
        if !looks.is_multiple_of(LOOKS) {
            return self.root.began + Duration::from_nanos(moment);
        }
        let now = rt::now();
        // Only if the turn has not said anything else meanwhile.
        let (was, is) = (moment, self.as_moment(now));
        let _ = self.moment.compare_exchange(was, is, Ordering::Relaxed, Ordering::Relaxed);
        now
    }

    /// A turn that runs short jobs keeps the time, until it says that it stops.
    pub(crate) fn keep_time(&self, now: Option<Instant>) {
        self.moment.store(now.map_or(0, |now| self.as_moment(now)), Ordering::Relaxed);
    }

    fn as_moment(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.root.began);
        u64::try_from(since.as_nanos()).unwrap_or(0)
    }

    /// Why the job that runs under this key has to end, if it has to. `seen` is what the caller
    /// last saw of the counter; while it stands, nobody was cancelled.
    pub(crate) fn interrupted(&self, at: &Hashed, id: Id, seen: &mut u64) -> Option<JobError> {
        let cancels = self.cancels.load(Ordering::Acquire);
        if cancels == std::mem::replace(seen, cancels) {
            return None;
        }
        self.lock().lanes.is_cancelled(at, id).then(|| self.root.interruption())
    }

    /// Leaves the waker of a job that waits where a cancellation finds it.
    pub(crate) fn attach(&self, at: &Hashed, id: Id, waker: &Waker) -> Option<JobError> {
        let waker = waker.clone();
        self.lock().lanes.attach(at, id, waker).then(|| self.root.interruption())
    }

    /// Cancels one job. False if it has ended.
    pub(crate) fn cancel(&self, at: &Hashed, id: Id) -> bool {
        let mut state = self.lock();
        let cancelled = state.lanes.cancel(at, id);
        if let Cancelled::Running(_) = cancelled {
            self.cancels.fetch_add(1, Ordering::Release);
        }
        drop(state);
        match cancelled {
            Cancelled::Removed(job) => self.retire([job], &JobError::Cancelled),
            Cancelled::Running(runner) => wake(runner),
            Cancelled::Gone => return false,
        }
        true
    }

    /// Takes a job out if it has not started.
    pub(crate) fn withdraw(&self, at: &Hashed, id: Id) {
        let mut state = self.lock();
        let waiting = state.lanes.withdraw(at, id);
        drop(state);
        self.retire(waiting, &JobError::Cancelled);
    }

    /// Cancels all jobs of a key and says how many.
    pub(crate) fn cancel_key(&self, at: &Hashed) -> usize {
        let mut state = self.lock();
        let (removed, running, runner) = state.lanes.cancel_key(at);
        if running > 0 {
            self.cancels.fetch_add(1, Ordering::Release);
        }
        drop(state);
        let count = removed.len() + running;
        self.retire(removed, &JobError::Cancelled);
        wake(runner);
        count
    }

    /// Ends what pauses between two runs; nothing repeats any more.
    pub(crate) fn end_repeats(&self) {
        let ended = self.lock().lanes.end_repeats();
        self.retire(ended, &JobError::Closed);
    }

    /// Ends everything.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        let (removed, runners) = state.lanes.close();
        self.cancels.fetch_add(1, Ordering::Release);
        drop(state);
        self.retire(removed, &JobError::Closed);
        wake(runners);
        self.free.cancel_all();
    }

    /// Says goodbye to jobs that left the queue without a result. Never under the lock: a
    /// job's destructor is the job's code and may submit.
    pub(crate) fn retire(&self, jobs: impl IntoIterator<Item = Queued>, error: &JobError) {
        let jobs: Vec<_> = jobs.into_iter().collect();
        if jobs.is_empty() {
            return;
        }
        self.lock().tally.count_ended(error, jobs.len() as u64);
        for mut job in jobs {
            self.root.leave(1, job.bytes);
            job.body.as_mut().end(error.clone());
        }
    }

    /// Passes a lane's turn to a task of its own.
    pub(crate) fn start_turn(self: &Arc<Self>, at: Hashed) {
        let turn = Turn::new(Arc::clone(self), at);
        drop(self.root.runtime.spawn(turn));
    }

    pub(crate) fn refused(&self, error: &SubmitError) {
        if let SubmitError::QueueFull { .. } = error {
            self.lock().tally.refused += 1;
        }
    }

    pub(crate) fn key_full(&self, depth: usize) -> SubmitError {
        let limit = self.root.limits.per_key.max(1) as u64;
        SubmitError::QueueFull { scope: Scope::Key, depth: depth as u64, limit }
    }
}

/// From `now` on that long, or for ever.
pub(crate) fn after(now: Instant, pause: Duration) -> Instant {
    const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);
    now + pause.min(FOR_EVER)
}

pub(crate) fn wake(wakers: impl IntoIterator<Item = Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}
