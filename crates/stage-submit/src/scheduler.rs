//! The scheduler without a runtime: threads that have their own loop pull their next job.

mod grant;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use crate::error::{Scope, SubmitError};
use crate::gate::{Gate, Kind};
use crate::key::{Hashed, Key};
use crate::lanes::{Cancelled, Fired, Id, Lanes, Next, Refusal, Waiting};
use crate::limits::{Limits, Options};
use crate::submitter::Close;
pub use grant::{Cancel, End, Grant, JobId, Run};

/// A ring with that many stale entries more than live ones is packed.
const SPARE_STALE: usize = 64;

/// Decides which job may run next; it runs none, reads no clock and starts no thread.
///
/// For workers that are not tokio tasks, such as threads that each own a script engine: they
/// share one `Mutex<Scheduler<J>>` and a condition variable, and each repeats "take the next
/// job, run it without the lock, say how it ended". `J` is whatever they run.
///
/// Ready keys stand in a ring. A worker takes the key at the front and may run its jobs for one
/// budget ([`Limits::turn`]); then the key goes to the end of the ring. So a key with a million
/// jobs delays another key's job by at most one budget per worker. A job of key 0 is a key of
/// its own here.
#[derive(Debug)]
pub struct Scheduler<J> {
    lanes: Lanes<Entry<J>, ()>,
    ring: VecDeque<Ready>,
    /// Jobs of key 0 that wait for a worker.
    free: BTreeMap<Id, (Entry<J>, Instant, Option<Instant>)>,
    /// Jobs of key 0 that run, and whether they were cancelled.
    free_running: BTreeMap<Id, bool>,
    /// Jobs of key 0 between two runs.
    free_paused: BTreeMap<(Instant, Id), Entry<J>>,
    last_free: u64,
    expired: Vec<(JobId, J)>,
    gate: Gate,
    limits: Limits,
    hasher: RandomState,
    closed: bool,
}

#[derive(Debug)]
struct Entry<J> {
    job: J,
    bytes: u64,
}

#[derive(Debug)]
enum Ready {
    Lane(Hashed),
    Free(Id),
}

impl<J> Scheduler<J> {
    /// No jobs.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let hasher = RandomState::default();
        Self {
            lanes: Lanes::new(hasher.clone()),
            ring: VecDeque::new(),
            free: BTreeMap::new(),
            free_running: BTreeMap::new(),
            free_paused: BTreeMap::new(),
            last_free: 0,
            expired: Vec::new(),
            gate: Gate::new(&limits),
            limits,
            hasher,
            closed: false,
        }
    }

    /// Accepts a job. O(1); with a deadline or key 0 O(log n).
    ///
    /// # Errors
    ///
    /// See [`SubmitError`]; the job comes back.
    pub fn submit(
        &mut self,
        now: Instant,
        key: impl Into<Key>,
        options: Options,
        job: J,
    ) -> Result<JobId, (SubmitError, J)> {
        if options.deadline.is_some_and(|deadline| deadline <= now) {
            return Err((SubmitError::DeadlinePassed, job));
        }
        if let Err(refused) = self.gate.enter(Kind::Keyed, options.bytes) {
            return Err((refused.error, job));
        }
        let key = key.into();
        let entry = Entry { job, bytes: options.bytes };
        if key.is_unlimited() {
            self.last_free += 1;
            let id = Id::new(self.last_free).unwrap_or(Id::MAX);
            self.free.insert(id, (entry, now, options.deadline));
            self.ring.push_back(Ready::Free(id));
            return Ok(JobId { key, id });
        }
        let at = Hashed::new(key, &self.hasher);
        let limit = self.limits.per_key.max(1);
        match self.lanes.push(&at, limit, now, options.deadline, entry) {
            Ok(pushed) => {
                let id = JobId { key: at.key.clone(), id: pushed.id };
                if pushed.turn {
                    self.ring.push_back(Ready::Lane(at));
                }
                Ok(id)
            }
            Err((refusal, entry)) => {
                let _ = self.gate.leave(Kind::Keyed, 0, 1, entry.bytes);
                Err((refused(&refusal, limit), entry.job))
            }
        }
    }

    /// The next job for a worker that is free; `None` if nothing is ready. Amortised O(1), with
    /// key 0 O(log n).
    pub fn next(&mut self, now: Instant) -> Option<Grant<J>> {
        while let Some(ready) = self.ring.pop_front() {
            let granted = match ready {
                Ready::Lane(at) => self.take(now, at, now, 0, (0, Duration::ZERO)),
                Ready::Free(id) => self.take_free(now, id),
            };
            if granted.is_some() {
                return granted;
            }
        }
        None
    }

    /// A job has run. The same worker gets the next job of the same key, unless there is none or
    /// the key's budget is spent: then it asks [`Scheduler::next`].
    pub fn finish(&mut self, now: Instant, run: Run, end: End<J>) -> Option<Grant<J>> {
        let Run { at, id, bytes, started, turn_began, turn_jobs } = run;
        if at.key.is_unlimited() {
            self.finish_free(now, id, bytes, end);
            return None;
        }
        let kept = match end {
            End::Again(job, pause) => {
                let due = crate::shard::after(now, pause);
                self.lanes.pause(&at, id, Entry { job, bytes }, due).is_none()
            }
            End::Done => false,
        };
        if !kept {
            let _ = self.gate.leave(Kind::Keyed, 0, 1, bytes);
        }
        let turn_jobs = turn_jobs + 1;
        let spent = now.saturating_duration_since(turn_began);
        if turn_jobs < self.limits.turn_jobs.max(1) && spent < self.limits.turn_time {
            let ran = now.saturating_duration_since(started);
            return self.take(now, at, turn_began, turn_jobs, (1, ran));
        }
        if self.lanes.leave(&at) {
            self.ring.push_back(Ready::Lane(at));
        }
        None
    }

    /// Cancels one job. O(log n); a job of key 0 amortised so.
    pub fn cancel(&mut self, job: &JobId) -> Cancel<J> {
        if job.key.is_unlimited() {
            return self.cancel_free(job.id);
        }
        match self.lanes.cancel(&Hashed::new(job.key.clone(), &self.hasher), job.id) {
            Cancelled::Removed(entry) => {
                self.pack_ring();
                Cancel::Removed(self.let_go(entry))
            }
            Cancelled::Running(_) => Cancel::Running,
            Cancelled::Gone => Cancel::Gone,
        }
    }

    /// Takes out the jobs of a key that do not run, oldest first, and marks the running one. Says
    /// whether one runs. For key 0 nothing is done: its jobs are cancelled by name.
    pub fn cancel_key(&mut self, key: impl Into<Key>) -> (Vec<J>, bool) {
        let at = Hashed::new(key.into(), &self.hasher);
        let (removed, running, _) = self.lanes.cancel_key(&at);
        self.pack_ring();
        let removed = removed.into_iter().map(|entry| self.let_go(entry)).collect();
        (removed, running > 0)
    }

    /// Whether the job that runs was cancelled and should end.
    pub fn is_cancelled(&mut self, run: &Run) -> bool {
        if run.at.key.is_unlimited() {
            return self.free_running.get(&run.id).copied().unwrap_or(false);
        }
        self.lanes.is_cancelled(&run.at, run.id)
    }

    /// When [`Scheduler::handle_timeout`] has to be called next.
    #[must_use]
    pub fn next_timer(&self) -> Option<Instant> {
        let paused = self.free_paused.first_key_value().map(|((due, _), _)| *due);
        self.lanes.next_timer().into_iter().chain(paused).min()
    }

    /// Handles all timers that are due: ends of pauses make jobs ready, deadlines fill
    /// [`Scheduler::take_expired`]. A job of key 0 is found to be late when its turn comes.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(fired) = self.lanes.fire(now) {
            match fired {
                Fired::Expired { at, id, job } => self.expire(JobId { key: at.key, id }, job),
                Fired::Turn(at) => self.ring.push_back(Ready::Lane(at)),
                Fired::Moved => {}
            }
        }
        while let Some(first) = self.free_paused.first_entry() {
            let (due, id) = *first.key();
            if due > now {
                break;
            }
            self.free.insert(id, (first.remove(), due, None));
            self.ring.push_back(Ready::Free(id));
        }
        self.pack_ring();
    }

    /// The jobs that were found to be past their deadline since the last call; they never started.
    pub fn take_expired(&mut self) -> Vec<(JobId, J)> {
        std::mem::take(&mut self.expired)
    }

    /// Accepts no job from now on and gives back those that will not run: the pausing ones, and
    /// with [`Close::Abort`] the waiting ones too, of which the running ones learn by
    /// [`Scheduler::is_cancelled`]. All is done once [`Scheduler::depth`] is zero.
    pub fn close(&mut self, how: Close) -> Vec<J> {
        self.gate.close();
        self.closed = true;
        let mut out = match how {
            Close::Drain => self.lanes.end_repeats(),
            Close::Abort => self.lanes.close().0,
        };
        out.extend(std::mem::take(&mut self.free_paused).into_values());
        if how == Close::Abort {
            out.extend(std::mem::take(&mut self.free).into_values().map(|(entry, ..)| entry));
            self.free_running.values_mut().for_each(|cancelled| *cancelled = true);
        }
        out.into_iter().map(|entry| self.let_go(entry)).collect()
    }

    /// Unended jobs.
    #[must_use]
    pub fn depth(&self) -> u64 {
        self.gate.depth()
    }

    /// Keys with unended jobs, key 0 not counted.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.lanes.keys()
    }

    /// Asks the lane whose turn the caller has for its next job.
    fn take(
        &mut self,
        now: Instant,
        at: Hashed,
        turn_began: Instant,
        turn_jobs: u32,
        mut ran: (u64, Duration),
    ) -> Option<Grant<J>> {
        loop {
            match self.lanes.next(&at, now, std::mem::take(&mut ran)) {
                Next::Run(_, Waiting { id, job: Entry { job, bytes }, since, .. }) => {
                    let waited = now.saturating_duration_since(since);
                    let run = Run { at, id, bytes, started: now, turn_began, turn_jobs };
                    return Some(Grant { job, waited, run });
                }
                Next::Expired { id, job } => self.expire(JobId { key: at.key.clone(), id }, job),
                Next::Idle => return None,
            }
        }
    }

    fn take_free(&mut self, now: Instant, id: Id) -> Option<Grant<J>> {
        let (entry, since, deadline) = self.free.remove(&id)?;
        let at = Hashed { key: Key::UNLIMITED, hash: 0 };
        if deadline.is_some_and(|deadline| deadline <= now) {
            self.expire(JobId { key: at.key, id }, entry);
            return None;
        }
        self.free_running.insert(id, false);
        let Entry { job, bytes } = entry;
        let waited = now.saturating_duration_since(since);
        let run = Run { at, id, bytes, started: now, turn_began: now, turn_jobs: 0 };
        Some(Grant { job, waited, run })
    }

    fn finish_free(&mut self, now: Instant, id: Id, bytes: u64, end: End<J>) {
        let cancelled = self.free_running.remove(&id).unwrap_or(false);
        match end {
            End::Again(job, pause) if !cancelled && !self.closed => {
                let due = crate::shard::after(now, pause);
                self.free_paused.insert((due, id), Entry { job, bytes });
            }
            _ => drop(self.gate.leave(Kind::Keyed, 0, 1, bytes)),
        }
    }

    fn cancel_free(&mut self, id: Id) -> Cancel<J> {
        if let Some(cancelled) = self.free_running.get_mut(&id) {
            *cancelled = true;
            return Cancel::Running;
        }
        if let Some((entry, ..)) = self.free.remove(&id) {
            self.pack_ring();
            return Cancel::Removed(self.let_go(entry));
        }
        let paused = self.free_paused.keys().find(|(_, paused)| *paused == id).copied();
        match paused.and_then(|place| self.free_paused.remove(&place)) {
            Some(entry) => Cancel::Removed(self.let_go(entry)),
            None => Cancel::Gone,
        }
    }

    /// Cancelled and expired jobs leave entries in the ring, which workers skip; if no worker
    /// comes by, these and their keys must not pile up.
    fn pack_ring(&mut self) {
        if self.ring.len() > 2 * (self.free.len() + self.lanes.waiting()) + SPARE_STALE {
            let Self { ring, free, lanes, .. } = self;
            ring.retain(|ready| match ready {
                Ready::Lane(at) => lanes.keep_turn(at),
                Ready::Free(id) => free.contains_key(id),
            });
        }
    }

    fn expire(&mut self, id: JobId, entry: Entry<J>) {
        let job = self.let_go(entry);
        self.expired.push((id, job));
    }

    fn let_go(&mut self, entry: Entry<J>) -> J {
        let _ = self.gate.leave(Kind::Keyed, 0, 1, entry.bytes);
        entry.job
    }
}

fn refused(refusal: &Refusal, limit: usize) -> SubmitError {
    match refusal {
        Refusal::Full(depth) => {
            SubmitError::QueueFull { scope: Scope::Key, depth: *depth as u64, limit: limit as u64 }
        }
        Refusal::Closed => SubmitError::Closed,
    }
}
