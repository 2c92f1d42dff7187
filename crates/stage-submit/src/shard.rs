//! One share of the keys: the decision core under a lock, and what all shares have in common.

use std::task::Waker;
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;
use foldhash::fast::RandomState;
use tokio::sync::Notify;

use crate::error::{JobError, Scope, SubmitError};
use crate::free::FreeJobs;
use crate::gate::{Gate, Kind};
use crate::job::Queued;
use crate::key::Hashed;
use crate::lanes::{Cancelled, Id, Lanes};
use crate::limits::Limits;
use crate::rt::{self, Runtime};
use crate::sync::{Arc, AtomicU64, Mutex, MutexGuard, Ordering, lock};
use crate::tally::{Tally, is_one_in};
use crate::turn::Turn;
use crate::waits::{WaitGraph, Waiter};

/// One in so many jobs, as a power of two, has a look at the clock although a turn keeps the time.
const LOOK_BITS: u32 = 3;

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

    /// Lets a job in and says how many of its kind have come before it.
    #[inline]
    pub(crate) fn enter(&self, kind: Kind, bytes: u64) -> Result<u64, SubmitError> {
        self.gate.enter(kind, bytes).map_err(|refused| {
            if refused.emptied {
                self.emptied.notify_waiters();
            }
            refused.error
        })
    }

    pub(crate) fn leave(&self, kind: Kind, number: u64, jobs: u64, bytes: u64) {
        if self.gate.leave(kind, number, jobs, bytes) {
            self.emptied.notify_waiters();
        }
    }

    /// A run is over, so it waits for nobody any more. With it that job may have ended: then nobody
    /// waits for it either, though who did may not have heard of it yet.
    #[inline]
    pub(crate) fn end_waits(&self, ended: Option<u64>, waiter: impl FnOnce() -> Waiter) {
        if self.waits_begun.load(Ordering::Relaxed) > 0 {
            self.forget_waits(ended, waiter());
        }
    }

    #[cold]
    fn forget_waits(&self, ended: Option<u64>, waiter: Waiter) {
        let mut waits = lock(&self.waits);
        waits.forget(&waiter);
        if let Some(id) = ended {
            waits.job_ended(waiter, id);
        }
    }

    /// A job ends without having run, or as soon as it waits: nobody waits for it any more.
    pub(crate) fn end_waits_for(&self, at: &Hashed, id: Id) {
        if self.waits_begun.load(Ordering::Relaxed) > 0 {
            lock(&self.waits).job_ended(Waiter::Key(at.key.clone()), id.get());
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
    /// Hash of a key that had a queue when it was last submitted to, or zero: a guess that only
    /// decides which way a job is started in, never whether.
    busy: AtomicU64,
    pub(crate) free: FreeJobs,
    pub(crate) alarm: Notify,
}

/// A shard as jobs and handles hold it.
///
/// They hold it from one thread and let go of it on another, and two that count references in one place
/// wait for each other's cache. So each shard has several of these, and jobs take one after the other.
#[derive(Debug)]
pub(crate) struct Pass(CachePadded<Arc<Shard>>);

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) lanes: Lanes<Queued, Waker>,
    pub(crate) tally: Tally,
    /// When the alarm task looks next; none runs if `None`.
    pub(crate) alarm_at: Option<Instant>,
}

impl Shard {
    pub(crate) fn new(root: Arc<Root>, hasher: RandomState) -> Self {
        let state = State { lanes: Lanes::new(hasher), tally: Tally::default(), alarm_at: None };
        Self {
            root,
            state: CachePadded::new(Mutex::new(state)),
            cancels: AtomicU64::new(0),
            moment: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            free: FreeJobs::default(),
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

    /// Now, or a little earlier if a turn keeps the time. Every so often it is brought up to date for the
    /// job of this number, so that it does not lag behind for long if the turn waits for other tasks.
    pub(crate) fn about_now(&self, number: u64) -> Instant {
        let moment = self.moment.load(Ordering::Relaxed);
        if moment == 0 {
            return rt::now();
        }
        if !is_one_in(LOOK_BITS, number) {
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
        self.root.end_waits_for(at, id);
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
        // Under the lock: a job that comes to the key after that is not among those that are cancelled.
        if self.root.waits_begun.load(Ordering::Relaxed) > 0 {
            lock(&self.root.waits).jobs_ended(&Waiter::Key(at.key.clone()));
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
            self.root.leave(Kind::Keyed, 0, 1, job.bytes);
            job.body.as_mut().end(error.clone());
        }
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

impl Pass {
    pub(crate) fn new(shard: &Arc<Shard>) -> Self {
        Self(CachePadded::new(Arc::clone(shard)))
    }

    /// Passes a lane's turn to a task of its own.
    pub(crate) fn start_turn(self: &Arc<Self>, at: Hashed) {
        let turn = Turn::new(Arc::clone(self), at);
        drop(self.root.runtime.spawn(turn));
    }
}

impl std::ops::Deref for Pass {
    type Target = Shard;

    fn deref(&self) -> &Shard {
        &self.0
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
