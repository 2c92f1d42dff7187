//! The front: submitting, cancelling, closing, asking.

use std::hash::BuildHasher as _;
use std::thread::available_parallelism;
use std::time::Instant;

use foldhash::fast::RandomState;
use tokio::sync::oneshot;

use crate::context::Seat;
use crate::direct::{Direct, Infallible, KeyLease};
use crate::error::{JobError, SubmitError};
use crate::free::FreeLease;
use crate::gate::{Kind, TOGETHER};
use crate::handle::{Handle, Place};
use crate::job::{Queued, Repeat, Reply};
use crate::key::{Hashed, Key};
use crate::lanes::{Entered, Id, Refusal};
use crate::limits::{Limits, Options};
use crate::rt::{self, Runtime};
use crate::shard::{Pass, Root, Shard, after};
use crate::stats::{self, KeyStats, Stats};
use crate::sync::{Arc, Ordering};
use crate::tally::Sample;

/// How many passes a shard has.
const PASSES: usize = 8;

/// Runs jobs on tokio, one at a time per key. Cheap to clone; all clones are one scheduler.
///
/// Dropping the last clone stops nothing: accepted jobs run to their end, and a repeating one
/// goes on until it is done or cancelled.
#[derive(Clone, Debug)]
pub struct Submitter {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    root: Arc<Root>,
    shards: Box<[Arc<Shard>]>,
    /// Those of the first shard, then those of the second, and so on.
    passes: Box<[Arc<Pass>]>,
    hasher: RandomState,
}

/// How [`Submitter::close`] treats jobs that were accepted before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// They run to their end; repeating ones end with the run they are in, and at once if they
    /// pause.
    Drain,
    /// Those that wait never start, those that run are dropped where they wait.
    Abort,
}

impl Submitter {
    /// A scheduler on the current tokio runtime.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime; [`Submitter::on`] takes one explicitly.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self::on(&tokio::runtime::Handle::current(), limits)
    }

    /// A scheduler whose jobs run on `runtime`, from whichever thread they are submitted. Deadlines
    /// and repeats need the runtime's timer enabled.
    #[must_use]
    pub fn on(runtime: &tokio::runtime::Handle, limits: Limits) -> Self {
        Self::build(Runtime::new(runtime.clone()), limits, shard_count())
    }

    pub(crate) fn build(runtime: Runtime, limits: Limits, shards: u64) -> Self {
        let root = Arc::new(Root::new(limits, runtime));
        let hasher = RandomState::default();
        let shard = |_| Arc::new(Shard::new(Arc::clone(&root), hasher.clone()));
        let shards: Box<[_]> = (0..shards).map(shard).collect();
        let passes =
            shards.iter().flat_map(|shard| (0..PASSES).map(|_| Arc::new(Pass::new(shard))));
        let passes = passes.collect();
        Self { shared: Arc::new(Shared { root, shards, passes, hasher }) }
    }

    /// Submits `job` under `key`. It starts at once if the key is idle, else after the jobs
    /// of that key which were submitted before. Never blocks.
    ///
    /// # Errors
    ///
    /// See [`SubmitError`]; the job is dropped.
    pub fn submit<F>(&self, key: impl Into<Key>, job: F) -> Result<Handle<F::Output>, SubmitError>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.submit_with(key, Options::new(), job)
    }

    /// Submits with a deadline or a weight in bytes.
    ///
    /// # Errors
    ///
    /// See [`SubmitError`]; the job is dropped.
    pub fn submit_with<F>(
        &self,
        key: impl Into<Key>,
        options: Options,
        job: F,
    ) -> Result<Handle<F::Output>, SubmitError>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let key = key.into();
        let number = self.admit(&key, &options)?;
        if key.is_unlimited() {
            return Ok(self.start_free(number, options, Infallible::new(job)));
        }
        let at = Hashed::new(key, &self.shared.hasher);
        let shard = self.pass(at.hash, number);
        if !shard.expects_queue(at.hash) {
            let limit = shard.root.limits.per_key.max(1);
            let mut state = shard.lock();
            if let Entered::Running(id) = state.lanes.enter(&at, limit) {
                state.tally.at_once += 1;
                let cancels_seen = shard.cancels.load(Ordering::Relaxed);
                drop(state);
                let seat = Seat { shard: Arc::clone(shard), key: at.key, id: id.get() };
                let lease = KeyLease::new(seat, at.hash, number, options.bytes, cancels_seen);
                return Ok(self.start_direct(lease, id, options.deadline, job));
            }
        }
        enqueue(shard, at, options, number, |reply| Queued::once(job, reply, options.bytes))
    }

    /// Submits a job that may run many times: `make` makes the future of each run, which says
    /// [`Repeat::Again`] to be run again after a pause, or [`Repeat::Done`] with the result.
    ///
    /// The key is free during a pause: other jobs of the key run meanwhile. When the pause is
    /// over the job takes its place behind the jobs that wait at that moment; this place is
    /// its own, no bound can refuse it. So runs of a key never overlap, the queue is in
    /// order of arrival with a repeat arriving when its pause ends, and a job that
    /// repeats without pause lets every other job of its key through. The job counts
    /// against the bounds until it is done. A deadline is for the first run only.
    ///
    /// # Errors
    ///
    /// See [`SubmitError`]; the job is dropped.
    pub fn submit_repeating<M, F, T>(
        &self,
        key: impl Into<Key>,
        options: Options,
        make: M,
    ) -> Result<Handle<T>, SubmitError>
    where
        M: FnMut() -> F + Send + 'static,
        F: Future<Output = Repeat<T>> + Send + 'static,
        T: Send + 'static,
    {
        let key = key.into();
        let number = self.admit(&key, &options)?;
        if key.is_unlimited() {
            let root = Arc::clone(&self.shared.root);
            return Ok(self.start_free(number, options, repeat_free(root, make)));
        }
        let at = Hashed::new(key, &self.shared.hasher);
        let shard = self.pass(at.hash, number);
        enqueue(shard, at, options, number, |reply| Queued::repeating(make, reply, options.bytes))
    }

    /// Cancels all jobs of a key as [`Handle::cancel`] does, and says how many were unended.
    /// For key 0 these are all jobs without a limit.
    pub fn cancel_key(&self, key: impl Into<Key>) -> usize {
        let key = key.into();
        if key.is_unlimited() {
            let gate = &self.shared.root.gate;
            let (accepted, ended) = gate.accepted_and_ended(Kind::Free);
            let entered = gate.entered(Kind::Free);
            self.shared.shards.iter().for_each(|shard| shard.free.cancel_below(entered));
            return usize::try_from(accepted.saturating_sub(ended)).unwrap_or(usize::MAX);
        }
        let at = Hashed::new(key, &self.shared.hasher);
        self.shard(at.hash).cancel_key(&at)
    }

    /// Accepts no job from now on, sees the accepted ones to their end, and returns when none is
    /// left. The door is closed as soon as the future is first polled; giving up waiting leaves
    /// it closed. May be called again, to abort what does not drain.
    pub async fn close(&self, how: Close) {
        let root = &self.shared.root;
        root.gate.close();
        if how == Close::Abort {
            root.abort();
        }
        root.closing.notify_waiters();
        for shard in &self.shared.shards {
            match how {
                Close::Drain => shard.end_repeats(),
                Close::Abort => shard.close(),
            }
        }
        loop {
            // Made before the look, so that an end in between is not missed.
            let emptied = root.emptied.notified();
            if root.gate.depth() == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// Whether [`Submitter::close`] was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.root.gate.is_closed()
    }

    /// Totals. O(shards), each locked for the time of a copy.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let gate = &self.shared.root.gate;
        let mut stats = Stats { active: gate.depth(), bytes: gate.bytes(), ..Stats::default() };
        (stats.at_once, stats.ended.completed) = gate.accepted_and_ended(Kind::Free);
        for shard in &self.shared.shards {
            let failures = shard.free.failures();
            stats.ended.completed = stats.ended.completed.saturating_sub(failures.total());
            stats.ended.add(&failures);
            let state = shard.lock();
            state.tally.add_to(&mut stats);
            stats.keys += state.lanes.keys() as u64;
            stats.waiting += state.lanes.waiting() as u64;
            stats.sleeping += state.lanes.sleeping() as u64;
        }
        stats
    }

    /// Unended jobs of one key, key 0 not counted. O(1).
    pub fn depth(&self, key: impl Into<Key>) -> usize {
        let at = Hashed::new(key.into(), &self.shared.hasher);
        self.shard(at.hash).lock().lanes.depth(&at)
    }

    /// The `n` keys with the deepest queues, deepest first. O(busy keys), shard by shard under
    /// its lock: for people and metrics, not for every job.
    #[must_use]
    pub fn top_keys(&self, n: usize) -> Vec<KeyStats> {
        let now = rt::now();
        let of_shard = |shard: &Arc<Shard>| stats::top(shard.lock().lanes.view(now), n);
        stats::top(self.shared.shards.iter().flat_map(of_shard), n)
    }

    /// Lets a job in and says how many of its kind have come before it.
    #[inline]
    fn admit(&self, key: &Key, options: &Options) -> Result<u64, SubmitError> {
        if options.deadline.is_some_and(|deadline| deadline <= rt::now()) {
            return Err(SubmitError::DeadlinePassed);
        }
        let kind = if key.is_unlimited() { Kind::Free } else { Kind::Keyed };
        self.shared.root.enter(kind, options.bytes).inspect_err(|error| {
            self.shard(self.shared.hasher.hash_one(key)).refused(error);
        })
    }

    fn start_direct<F>(
        &self,
        lease: KeyLease,
        id: Id,
        deadline: Option<Instant>,
        job: F,
    ) -> Handle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let key = lease.key();
        let sample = Sample::of(id.get(), deadline, rt::now);
        let task = self.shared.root.runtime.spawn(Direct::new(Infallible::new(job), lease, sample));
        Handle::direct(task, &self.shared.root, key, id.get())
    }

    fn start_free<F, T>(&self, number: u64, options: Options, job: F) -> Handle<T>
    where
        F: Future<Output = Result<T, JobError>> + Send + 'static,
        T: Send + 'static,
    {
        // Those that come one after the other have the same shard, as they have the same pass.
        let shard = self.pass((number / TOGETHER) << 32, number);
        let seat = Seat { shard: Arc::clone(shard), key: Key::UNLIMITED, id: number };
        let sample = Sample::of(number, options.deadline, rt::now);
        let job = Direct::new(job, FreeLease::new(seat, options.bytes), sample);
        let task = self.shared.root.runtime.spawn(job);
        Handle::direct(task, &self.shared.root, Key::UNLIMITED, number)
    }

    fn shard(&self, hash: u64) -> &Arc<Shard> {
        &self.shared.shards[self.index(hash)]
    }

    /// The shard, for a job that so many came before.
    fn pass(&self, hash: u64, number: u64) -> &Arc<Pass> {
        let which = (number / TOGETHER) as usize % PASSES;
        &self.shared.passes[self.index(hash) * PASSES + which]
    }

    fn index(&self, hash: u64) -> usize {
        // The table in the shard uses the lowest and the highest bits.
        (hash >> 32) as usize & (self.shared.shards.len() - 1)
    }
}

/// Puts a job into its key's queue, and starts a turn if nobody holds it. All that takes time is
/// done before the lock is taken.
fn enqueue<T>(
    shard: &Arc<Pass>,
    at: Hashed,
    options: Options,
    number: u64,
    make: impl FnOnce(Reply<T>) -> Queued,
) -> Result<Handle<T>, SubmitError> {
    let (reply, answer) = oneshot::channel();
    let job = make(reply);
    let limit = shard.root.limits.per_key.max(1);
    let since = shard.about_now(number);
    let mut state = shard.lock();
    match state.lanes.push(&at, limit, since, options.deadline, job) {
        Ok(pushed) => {
            let alarm = shard.arm(&mut state);
            drop(state);
            if alarm {
                shard.start_alarm();
            }
            if pushed.turn {
                shard.start_turn(at.clone());
            }
            shard.expect_queue(at.hash, !pushed.turn);
            let place = Place { shard: Arc::clone(shard), at, id: pushed.id };
            Ok(Handle::queued(answer, place))
        }
        Err((refusal, mut job)) => {
            drop(state);
            shard.root.leave(Kind::Keyed, number, 1, options.bytes);
            let error = match refusal {
                Refusal::Full(depth) => shard.key_full(depth),
                Refusal::Closed => SubmitError::Closed,
            };
            shard.refused(&error);
            job.body.as_mut().end(JobError::Cancelled);
            Err(error)
        }
    }
}

/// Repeats a job that no key holds back.
async fn repeat_free<M, F, T>(root: Arc<Root>, mut make: M) -> Result<T, JobError>
where
    M: FnMut() -> F,
    F: Future<Output = Repeat<T>>,
{
    loop {
        let pause = match make().await {
            Repeat::Done(value) => return Ok(value),
            Repeat::Again(pause) => pause,
        };
        let closing = root.closing.notified();
        if !root.gate.is_closed() {
            rt::until(after(rt::now(), pause), closing).await;
        }
        if root.gate.is_closed() {
            return Err(JobError::Closed);
        }
    }
}

fn shard_count() -> u64 {
    let workers = available_parallelism().map_or(1, std::num::NonZero::get);
    (workers * 8).next_power_of_two().min(256) as u64
}
