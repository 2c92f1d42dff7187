//! The decision core: which job of which key may run.
//!
//! A *lane* is the state of one key that has unended jobs; a key without one is idle and takes
//! no memory. Whoever may run jobs of a key holds the lane's *turn*. There is one turn per lane,
//! so at most one job per key runs: [`Lanes::enter`] and [`Lanes::push`] hand out the turn of
//! a lane that has none, [`Lanes::next`] either keeps it with the lane's next job or gives it
//! back. Giving it back and forgetting the lane is one step under the caller's lock, and
//! so is arriving; an arrival therefore finds either a turn holder that will look again, or no
//! lane, never something in between.
//!
//! Nothing here reads a clock, blocks, or calls into a job: time comes in as an argument, jobs
//! (`J`) and whatever the driver needs to reach a running one (`R`) go in and out as values.

// The path is what it would be anyway; said, it holds for tests that mount this file elsewhere too.
#[path = "lanes/hand.rs"]
mod hand;
#[path = "lanes/lane.rs"]
mod lane;

use std::collections::BTreeSet;
use std::hash::BuildHasher as _;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::{Entry, OccupiedEntry};

use crate::key::{Hashed, Key};
use crate::stats::KeyStats;
use lane::Lane;
pub(crate) use lane::{Marks, Slot, Waiting};

/// Names a job among all jobs that this table ever held.
pub(crate) type Id = NonZeroU64;

/// All lanes of one shard.
#[derive(Debug)]
pub(crate) struct Lanes<J, R> {
    table: HashTable<Lane<J, R>>,
    hasher: RandomState,
    /// Deadlines of waiting jobs and ends of pauses; a job has at most one.
    timers: BTreeSet<(Instant, Key, Id)>,
    last_id: u64,
    waiting: usize,
    sleeping: usize,
    /// Lanes without jobs whose turn is kept for a moment.
    resting: usize,
    closed: bool,
    /// No job repeats any more.
    last_runs: bool,
}

/// What [`Lanes::push`] did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pushed {
    pub(crate) id: Id,
    /// The caller now holds the lane's turn and must see to it that [`Lanes::next`] is called.
    pub(crate) turn: bool,
}

/// Why [`Lanes::push`] or [`Lanes::enter`] refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The key has that many unended jobs.
    Full(usize),
    Closed,
}

/// What [`Lanes::enter`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entered {
    /// The key was free; the caller holds its turn and runs a job under this name.
    Running(Id),
    Busy,
    Closed,
}

/// What the holder of a turn is to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<J> {
    /// Run this job, which had that place in the queue; keep the turn.
    Run(Id, Waiting<J>),
    /// Refuse this job, its deadline has passed; keep the turn and ask again.
    Expired { id: Id, job: J },
    /// Nothing to run; the turn is gone.
    Idle,
}

/// What [`Lanes::cancel`] found under a name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cancelled<J, R> {
    /// It had not started, or paused between two runs; it is out.
    Removed(J),
    /// It runs and is marked; the driver may reach it through this.
    Running(Option<R>),
    /// It has ended.
    Gone,
}

/// What a due timer led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fired<J> {
    /// Refuse this job: its deadline passed while it waited.
    Expired { at: Hashed, id: Id, job: J },
    /// The pause of a repeating job is over and the lane had no turn: the caller has it now.
    Turn(Hashed),
    /// A job changed its place; nothing to do.
    Moved,
}

impl PartialEq for Hashed {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Hashed {}

impl<J, R: Clone> Lanes<J, R> {
    /// `hasher` must be the one that the [`Hashed`] keys were made with.
    pub(crate) fn new(hasher: RandomState) -> Self {
        Self {
            table: HashTable::new(),
            hasher,
            timers: BTreeSet::new(),
            last_id: 0,
            waiting: 0,
            sleeping: 0,
            resting: 0,
            closed: false,
            last_runs: false,
        }
    }

    /// Takes the turn of a key that is free and has fewer than `limit` unended jobs, for a job that
    /// the caller keeps. O(1).
    pub(crate) fn enter(&mut self, at: &Hashed, limit: usize) -> Entered {
        if self.closed {
            return Entered::Closed;
        }
        let id = next_id(&mut self.last_id);
        match find(&mut self.table, &self.hasher, at) {
            Entry::Vacant(place) => {
                place.insert(Lane::new(at.key.clone())).get_mut().run(id);
                Entered::Running(id)
            }
            Entry::Occupied(mut place) if !place.get().turn && place.get().depth() < limit => {
                place.get_mut().run(id);
                Entered::Running(id)
            }
            Entry::Occupied(_) => Entered::Busy,
        }
    }

    /// Queues a job, unless the key has `limit` unended jobs; a refused job comes back, to be
    /// dropped without the lock. O(1), with a deadline O(log timers).
    pub(crate) fn push(
        &mut self,
        at: &Hashed,
        limit: usize,
        since: Instant,
        deadline: Option<Instant>,
        job: J,
    ) -> Result<Pushed, (Refusal, J)> {
        if self.closed {
            return Err((Refusal::Closed, job));
        }
        let id = next_id(&mut self.last_id);
        let lane = match find(&mut self.table, &self.hasher, at) {
            Entry::Vacant(place) => place.insert(Lane::new(at.key.clone())).into_mut(),
            Entry::Occupied(place) if place.get().depth() >= limit => {
                return Err((Refusal::Full(place.get().depth()), job));
            }
            Entry::Occupied(place) => place.into_mut(),
        };
        lane.backlog_mut().push(id, Waiting { id, job, since, deadline });
        if std::mem::take(&mut lane.resting) {
            self.resting -= 1;
        }
        let turn = !std::mem::replace(&mut lane.turn, true);
        self.waiting += 1;
        if let Some(deadline) = deadline {
            self.timers.insert((deadline, at.key.clone(), id));
        }
        Ok(Pushed { id, turn })
    }

    /// The jobs that the turn holder had have ended, so many runs in that time: who is next? Jobs
    /// whose deadline is `now` or earlier do not start. Amortised O(1).
    pub(crate) fn next(&mut self, at: &Hashed, now: Instant, ran: (u64, Duration)) -> Next<J> {
        let Some(mut place) = occupied(&mut self.table, at) else { return Next::Idle };
        let lane = place.get_mut();
        lane.rest(ran);
        if std::mem::take(&mut lane.resting) {
            self.resting -= 1;
        }
        let Some((first, waiting)) = lane.pop() else {
            lane.turn = false;
            lane.runner = None;
            reclaim(place, &self.hasher);
            return Next::Idle;
        };
        let expired = waiting.deadline.is_some_and(|deadline| deadline <= now);
        if !expired {
            lane.run(waiting.id);
        }
        self.waiting -= 1;
        if let Some(deadline) = waiting.deadline {
            self.timers.remove(&(deadline, at.key.clone(), waiting.id));
        }
        if expired {
            return Next::Expired { id: waiting.id, job: waiting.job };
        }
        Next::Run(first, waiting)
    }

    /// The job that ran under this turn has ended, and the caller will not run another one.
    /// True if jobs wait: the caller still holds the turn and must pass it on. O(1).
    #[must_use]
    pub(crate) fn leave(&mut self, at: &Hashed) -> bool {
        let Some(mut place) = occupied(&mut self.table, at) else { return false };
        let lane = place.get_mut();
        lane.rest((1, Duration::ZERO));
        if std::mem::take(&mut lane.resting) {
            self.resting -= 1;
        }
        lane.runner = None;
        give_back(place, &self.hasher)
    }

    /// Nothing runs under this turn, and its holder does not mean to run anything if nothing waits.
    /// True if jobs wait: the caller still holds the turn. O(1).
    #[must_use]
    pub(crate) fn keep_turn(&mut self, at: &Hashed) -> bool {
        occupied(&mut self.table, at).is_some_and(|place| give_back(place, &self.hasher))
    }

    /// The running job pauses until `due` and comes back then behind the jobs that wait at that
    /// time. The turn stays with the caller, who asks for the next job. Gives the job back
    /// if it was cancelled or no job may repeat any more. O(log n).
    pub(crate) fn pause(&mut self, at: &Hashed, id: Id, job: J, due: Instant) -> Option<J> {
        if self.last_runs {
            return Some(job);
        }
        let Some(mut place) = occupied(&mut self.table, at) else { return Some(job) };
        if place.get().is_condemned(id) {
            return Some(job);
        }
        place.get_mut().backlog_mut().sleepers.insert(id, (job, due));
        self.sleeping += 1;
        self.timers.insert((due, at.key.clone(), id));
        None
    }

    /// Leaves with the running job what the driver needs to reach it. True if it was cancelled
    /// before. O(1).
    pub(crate) fn attach(&mut self, at: &Hashed, id: Id, runner: R) -> bool {
        let Some(mut place) = occupied(&mut self.table, at) else { return false };
        let lane = place.get_mut();
        lane.runner = Some(runner);
        lane.is_condemned(id)
    }

    /// Whether this job, which the turn holder has, was cancelled. O(1).
    pub(crate) fn is_cancelled(&mut self, at: &Hashed, id: Id) -> bool {
        occupied(&mut self.table, at).is_some_and(|place| place.get().is_condemned(id))
    }

    /// Takes one job out, or marks it if it runs. O(log n of the key).
    pub(crate) fn cancel(&mut self, at: &Hashed, id: Id) -> Cancelled<J, R> {
        let Some(mut place) = occupied(&mut self.table, at) else { return Cancelled::Gone };
        let lane = place.get_mut();
        if lane.condemn(id) {
            return Cancelled::Running(lane.runner.clone());
        }
        let Some(backlog) = &mut lane.backlog else { return Cancelled::Gone };
        let (job, timer) = if let Some(out) = backlog.remove(id) {
            self.waiting -= 1;
            (out.job, out.deadline)
        } else if let Some((job, due)) = backlog.sleepers.remove(&id) {
            self.sleeping -= 1;
            (job, Some(due))
        } else {
            return Cancelled::Gone;
        };
        if let Some(timer) = timer {
            self.timers.remove(&(timer, at.key.clone(), id));
        }
        self.reclaim(at);
        Cancelled::Removed(job)
    }

    /// Takes one job out, unless it runs or has ended. O(log n of the key).
    pub(crate) fn withdraw(&mut self, at: &Hashed, id: Id) -> Option<J> {
        let lane = occupied(&mut self.table, at)?.into_mut();
        if lane.has_in_hand(id) {
            return None;
        }
        match self.cancel(at, id) {
            Cancelled::Removed(job) => Some(job),
            _ => None,
        }
    }

    /// Takes all jobs of a key out, oldest first, and marks those that the turn holder has; says
    /// how many these are and how to reach it. O(jobs of the key).
    pub(crate) fn cancel_key(&mut self, at: &Hashed) -> (Vec<J>, usize, Option<R>) {
        let Some(mut place) = occupied(&mut self.table, at) else { return (Vec::new(), 0, None) };
        let lane = place.get_mut();
        let running = lane.condemn_all();
        let runner = lane.runner.clone();
        let removed = lane.take_all();
        self.forget(&at.key, &removed);
        self.reclaim(at);
        (removed.into_iter().map(|gone| gone.job).collect(), running, runner)
    }

    /// Refuses all arrivals from now on, takes every job out that does not run, in order of
    /// arrival, and marks the running ones. O(n log n).
    pub(crate) fn close(&mut self) -> (Vec<J>, Vec<R>) {
        self.closed = true;
        self.last_runs = true;
        let mut removed = Vec::new();
        let mut runners = Vec::new();
        for lane in &mut self.table {
            lane.condemn_all();
            runners.extend(lane.runner.clone());
            removed.extend(lane.take_all());
        }
        self.timers.clear();
        (self.waiting, self.sleeping) = (0, 0);
        self.table.retain(|lane| lane.turn);
        removed.sort_by_key(|gone| gone.id);
        (removed.into_iter().map(|gone| gone.job).collect(), runners)
    }

    /// Lets no job repeat any more and takes out those that pause between two runs, in order of
    /// arrival. O(n log n).
    pub(crate) fn end_repeats(&mut self) -> Vec<J> {
        self.last_runs = true;
        let mut removed = Vec::new();
        for lane in &mut self.table {
            if let Some(backlog) = &mut lane.backlog {
                let sleepers = std::mem::take(&mut backlog.sleepers);
                for (id, (job, due)) in sleepers {
                    self.timers.remove(&(due, lane.key.clone(), id));
                    removed.push((id, job));
                }
            }
        }
        self.sleeping = 0;
        self.table.retain(|lane| lane.turn);
        removed.sort_by_key(|(id, _)| *id);
        removed.into_iter().map(|(_, job)| job).collect()
    }

    /// When [`Lanes::fire`] has to be called next.
    pub(crate) fn next_timer(&self) -> Option<Instant> {
        self.timers.first().map(|(at, ..)| *at)
    }

    /// Handles one timer that is due; `None` once there is none. O(log n).
    pub(crate) fn fire(&mut self, now: Instant) -> Option<Fired<J>> {
        if self.next_timer()? > now {
            return None;
        }
        let (due, key, id) = self.timers.pop_first()?;
        let at = Hashed::new(key, &self.hasher);
        let place = self.next_id();
        let Some(lane) = occupied(&mut self.table, &at) else { return Some(Fired::Moved) };
        let lane = lane.into_mut();
        let backlog = lane.backlog_mut();
        if let Some((job, _)) = backlog.sleepers.remove(&id) {
            backlog.push_again(place, Waiting { id, job, since: due, deadline: None });
            self.sleeping -= 1;
            self.waiting += 1;
            let turn = !std::mem::replace(&mut lane.turn, true);
            return Some(if turn { Fired::Turn(at) } else { Fired::Moved });
        }
        let Some(out) = backlog.remove(id) else { return Some(Fired::Moved) };
        self.waiting -= 1;
        self.reclaim(&at);
        Some(Fired::Expired { at, id, job: out.job })
    }

    /// Unended jobs of one key. O(1).
    pub(crate) fn depth(&mut self, at: &Hashed) -> usize {
        occupied(&mut self.table, at).map_or(0, |place| place.get().depth())
    }

    /// Keys with unended jobs.
    pub(crate) fn keys(&self) -> usize {
        self.table.len() - self.resting
    }

    /// Jobs that wait for their key.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Repeating jobs between two runs.
    pub(crate) fn sleeping(&self) -> usize {
        self.sleeping
    }

    /// Every key with unended jobs, in no order. O(keys).
    pub(crate) fn view(&self, now: Instant) -> impl Iterator<Item = KeyStats> + '_ {
        self.table.iter().filter(|lane| !lane.resting).map(move |lane| lane.view(now))
    }

    fn next_id(&mut self) -> Id {
        next_id(&mut self.last_id)
    }

    /// Forgets a key if its lane has nothing left.
    fn reclaim(&mut self, at: &Hashed) {
        if let Some(place) = occupied(&mut self.table, at) {
            reclaim(place, &self.hasher);
        }
    }

    fn forget(&mut self, key: &Key, removed: &[lane::Removed<J>]) {
        for gone in removed {
            if let Some(timer) = gone.timer {
                self.timers.remove(&(timer, key.clone(), gone.id));
            }
            if gone.asleep {
                self.sleeping -= 1;
            } else {
                self.waiting -= 1;
            }
        }
    }
}

fn next_id(last: &mut u64) -> Id {
    *last += 1;
    Id::new(*last).unwrap_or(Id::MAX)
}

/// Gives the turn back if nothing waits; true if something does.
fn give_back<J, R>(mut place: OccupiedEntry<'_, Lane<J, R>>, hasher: &RandomState) -> bool {
    if place.get().has_waiting() {
        return true;
    }
    place.get_mut().turn = false;
    reclaim(place, hasher);
    false
}

/// Forgets a lane that nobody holds and nothing waits in, and the memory of many.
fn reclaim<J, R>(place: OccupiedEntry<'_, Lane<J, R>>, hasher: &RandomState) {
    if place.get().turn || place.get().depth() > 0 {
        return;
    }
    let (_, vacant) = place.remove();
    let table = vacant.into_table();
    if table.capacity() > 64 && table.len() * 8 < table.capacity() {
        table.shrink_to(table.len() * 2, |lane| hasher.hash_one(&lane.key));
    }
}

fn find<'a, J, R>(
    table: &'a mut HashTable<Lane<J, R>>,
    hasher: &RandomState,
    at: &Hashed,
) -> Entry<'a, Lane<J, R>> {
    table.entry(at.hash, |lane| lane.key == at.key, |lane| hasher.hash_one(&lane.key))
}

fn occupied<'a, J, R>(
    table: &'a mut HashTable<Lane<J, R>>,
    at: &Hashed,
) -> Option<OccupiedEntry<'a, Lane<J, R>>> {
    table.find_entry(at.hash, |lane| lane.key == at.key).ok()
}
