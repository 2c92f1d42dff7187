//! The task that runs the queued jobs of one key.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use crate::context::{Seat, seated};
use crate::error::JobError;
use crate::gate::Kind;
use crate::histogram::Histogram;
use crate::job::{Queued, Step};
use crate::key::Hashed;
use crate::lanes::{Id, Marks, Next, Slot, Waiting};
use crate::rt;
use crate::shard::{Pass, State, after};
use crate::sync::{Arc, MutexGuard, Ordering};
use crate::waits::Waiter;

/// Most jobs taken under one hold of the lock.
const HANDFUL: usize = 32;
/// No more jobs are taken than are over in about this time, so that the first one's result is
/// not kept back for long.
const BREATH: Duration = Duration::from_micros(16);
/// Jobs that take longer than this are taken one by one, and each is timed by itself.
const SHORT: Duration = Duration::from_micros(2);

/// Holds a lane's turn and runs its queue, in turns of bounded length, until it is empty. One
/// task serves many jobs: between two jobs of a busy key no task is created, woken or switched.
///
/// While jobs turn out to be short, they are taken by the handful: one hold of the lock and one
/// look at the clock for several. The first job that waits for something ends that: the
/// others go back to the front of the queue, where deadlines and cancellations find them.
///
/// A turn that finds its queue empty lets all other tasks go first and looks again before it
/// gives the key back. Whoever hears of a job's end and submits the next one is mostly among
/// these tasks, so the queue of a busy key fills up meanwhile, and nobody has to start or wake
/// anything for it.
pub(crate) struct Turn {
    shard: Arc<Pass>,
    at: Hashed,
    seat: Option<Seat>,
    /// The jobs taken from the queue, in order.
    hand: VecDeque<Slot<Queued>>,
    /// The first place in hand whose job has not ended: that job runs.
    next: usize,
    /// How many runs have ended of those before.
    runs: u32,
    /// Those of them that ended otherwise than with a result, by place in hand.
    odd: Vec<(usize, Odd)>,
    /// Jobs that are over, and are told so. Always empty but for that time.
    over: VecDeque<Slot<Queued>>,
    /// When the clock was last read for the jobs in hand.
    clock: Instant,
    handful: usize,
    cancels_seen: u64,
    /// Who in hand is to end, as of that count.
    marks: Marks,
    attached: bool,
    phase: Phase,
}

/// How a run ended if not with a result.
enum Odd {
    Failed(JobError),
    Again(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The queue has not been looked at, or is empty and will be looked at again.
    Fresh,
    Running,
    /// Jobs were taken, but others went first.
    Paused,
    /// The turn is given back.
    Over,
}

impl Turn {
    pub(crate) fn new(shard: Arc<Pass>, at: Hashed) -> Self {
        let seat = Seat { shard: Arc::clone(&shard), key: at.key.clone(), id: 0 };
        Self {
            clock: shard.root.began,
            shard,
            at,
            seat: Some(seat),
            hand: VecDeque::new(),
            next: 0,
            runs: 0,
            odd: Vec::new(),
            over: VecDeque::new(),
            handful: 1,
            cancels_seen: 0,
            marks: Marks::default(),
            attached: false,
            phase: Phase::Fresh,
        }
    }

    /// Runs the jobs in hand until one waits or all are over.
    fn run(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut seat = self.seat.take();
            let waiting = seated(&mut seat, || self.run_seated(cx));
            self.seat = seat;
            let Some(id) = waiting else { return Poll::Ready(()) };
            let Some(error) = self.suspend(id, cx) else { return Poll::Pending };
            let odd = self.stop(error);
            self.count_run(id, odd);
        }
    }

    /// Says which job waits. Never unwinds.
    fn run_seated(&mut self, cx: &mut Context<'_>) -> Option<Id> {
        while let Some((_, slot)) = self.hand.get(self.next) {
            let Some(id) = slot.as_ref().map(|waiting| waiting.id) else {
                self.next += 1;
                continue;
            };
            let interrupted = self.interrupted(id);
            let Some((_, Some(waiting))) = self.hand.get_mut(self.next) else { return None };
            let odd = match interrupted {
                Some(error) => self.stop(error),
                None => match waiting.job.body.as_mut().poll(cx) {
                    Poll::Ready(Step::Completed) => None,
                    Poll::Ready(Step::Panicked(error)) => Some(Odd::Failed(error)),
                    Poll::Ready(Step::Again(pause)) => Some(Odd::Again(pause)),
                    Poll::Pending => return Some(id),
                },
            };
            self.count_run(id, odd);
        }
        None
    }

    /// The job in hand has waited for others once more, perhaps past its deadline.
    fn expire(&mut self) {
        let Some((_, Some(waiting))) = self.hand.get(self.next) else { return };
        if waiting.deadline.is_some_and(|deadline| deadline <= self.clock) {
            let id = waiting.id;
            let odd = self.stop(JobError::Expired);
            self.count_run(id, odd);
        }
    }

    /// Drops the job whose turn it is. Others of its key may run as soon as the lane knows of its end.
    fn stop(&mut self, error: JobError) -> Option<Odd> {
        let (_, slot) = self.hand.get_mut(self.next)?;
        Some(Odd::Failed(slot.as_mut()?.job.body.as_mut().stop(error)))
    }

    fn count_run(&mut self, id: Id, odd: Option<Odd>) {
        let ended = !matches!(odd, Some(Odd::Again(_)));
        let waiter = || Waiter::Key(self.at.key.clone());
        self.shard.root.end_waits(ended.then_some(id.get()), waiter);
        self.odd.extend(odd.map(|odd| (self.next, odd)));
        self.next += 1;
        self.runs += 1;
    }

    fn interrupted(&mut self, id: Id) -> Option<JobError> {
        let cancels = self.shard.cancels.load(Ordering::Acquire);
        if cancels != self.cancels_seen {
            self.cancels_seen = cancels;
            self.marks = self.shard.lock().lanes.marks(&self.at);
        }
        self.marks.has(id).then(|| self.shard.root.interruption())
    }

    /// The next job in hand waits. It keeps the key alone: those after it go back, and the ends of
    /// those before it become known. Says why it has to end, if it has to.
    fn suspend(&mut self, id: Id, cx: &Context<'_>) -> Option<JobError> {
        if std::mem::replace(&mut self.handful, 1) > 1 {
            self.shard.keep_time(None);
        }
        if self.hand.len() > 1 {
            let now = rt::now();
            let share = now.saturating_duration_since(self.clock) / (self.runs + 1);
            let ran = (u64::from(self.runs), share * self.runs);
            let shard = Arc::clone(&self.shard);
            let mut state = shard.lock();
            let errors = self.settle(&mut state, share, self.next + 1);
            let rest = self.hand.drain(self.next + 1..);
            let condemned = state.lanes.put_back(&self.at, id, rest, ran);
            self.over.extend(self.hand.drain(..self.next));
            (self.next, self.runs) = (0, 0);
            self.clock = now.checked_sub(share).unwrap_or(now);
            self.tell(state, errors);
            self.shard.retire(condemned, &self.shard.root.interruption());
        }
        if std::mem::replace(&mut self.attached, true) {
            return None;
        }
        self.shard.attach(&self.at, id, cx.waker())
    }

    /// Puts away the jobs in hand, which are all over, and takes the next ones, at most `most`.
    fn advance(&mut self, now: Instant, most: usize) {
        let spent = now.saturating_duration_since(self.clock);
        let ran = (u64::from(self.runs), spent);
        let share = spent / self.runs.max(1);
        if self.runs > 0 {
            self.handful = if share < SHORT { more(self.handful, share) } else { 1 };
        }
        let shard = Arc::clone(&self.shard);
        let mut state = shard.lock();
        let errors = self.settle(&mut state, share, self.next);
        std::mem::swap(&mut self.hand, &mut self.over);
        // Whoever has just started has something to do, and whoever has done nothing gives up.
        let lingers = self.runs > 0 && state.lanes.linger(&self.at, ran);
        (self.next, self.runs, self.clock) = (0, 0, now);
        let expired = if lingers {
            self.phase = Phase::Fresh;
            Vec::new()
        } else {
            self.take(&mut state, now, ran, most)
        };
        self.tell(state, errors);
        self.shard.retire(expired, &JobError::Expired);
    }

    /// Takes the next jobs, or gives the turn back. Returns those that came too late.
    fn take(
        &mut self,
        state: &mut State,
        now: Instant,
        mut ran: (u64, Duration),
        most: usize,
    ) -> Vec<Queued> {
        let mut expired = Vec::new();
        self.marks = Marks::default();
        self.phase = Phase::Running;
        if !state.lanes.take(&self.at, self.handful.min(most), ran, &mut self.hand) {
            loop {
                match state.lanes.next(&self.at, now, std::mem::take(&mut ran)) {
                    Next::Run(place, waiting) => self.hand.push_back((place, Some(waiting))),
                    Next::Expired { id, job } => {
                        self.shard.root.end_waits_for(&self.at, id);
                        expired.push(job);
                        continue;
                    }
                    Next::Idle => self.phase = Phase::Over,
                }
                break;
            }
        }
        // The others may have to go back; their waits are counted when they have run.
        if let Some((_, Some(first))) = self.hand.iter().find(|(_, slot)| slot.is_some()) {
            state.tally.wait.record(now.saturating_duration_since(first.since), 1);
        }
        expired
    }

    /// Counts the waits up to that place in hand and the runs that have ended, and sends to sleep
    /// what will run again. Returns the errors of the others, by place in hand.
    fn settle(
        &mut self,
        state: &mut State,
        share: Duration,
        started: usize,
    ) -> Vec<(usize, JobError)> {
        if started <= 1 && self.runs == 0 {
            return Vec::new();
        }
        let begun = self.hand.iter().take(started).filter_map(|(_, slot)| slot.as_ref());
        count_waits(&mut state.tally.wait, self.clock, begun.skip(1).map(|w| w.since));
        if self.runs > 0 {
            state.tally.run.record(share, u64::from(self.runs));
        }
        let completed = self.runs as usize - self.odd.len();
        state.tally.count_completed(completed as u64);
        let mut errors = Vec::new();
        let now = self.clock + share * self.runs;
        for (place, odd) in self.odd.drain(..) {
            let error = match odd {
                Odd::Failed(error) => error,
                Odd::Again(pause) => {
                    let Some((_, slot)) = self.hand.get_mut(place) else { continue };
                    let Some(waiting) = slot.take() else { continue };
                    let (id, since, deadline) = (waiting.id, waiting.since, waiting.deadline);
                    let due = after(now, pause);
                    let refused = state.lanes.pause(&self.at, id, waiting.job, due);
                    let Some(job) = refused else { continue };
                    *slot = Some(Waiting { id, job, since, deadline });
                    self.shard.root.repeat_ended()
                }
            };
            state.tally.count_ended(&error, 1);
            errors.push((place, error));
        }
        errors
    }

    /// Tells the handles, after all else: who hears of an end finds the place in the queue free.
    fn tell(&mut self, mut state: MutexGuard<'_, State>, errors: Vec<(usize, JobError)>) {
        let alarm = self.shard.arm(&mut state);
        drop(state);
        if alarm {
            self.shard.start_alarm();
        }
        let jobs = || self.over.iter().filter_map(|(_, slot)| slot.as_ref());
        let (count, bytes) = jobs().fold((0, 0), |(n, sum), w| (n + 1, sum + w.job.bytes));
        if count == 0 {
            self.over.clear();
            return;
        }
        self.shard.root.leave(Kind::Keyed, self.at.hash, count, bytes);
        let mut errors = errors.into_iter().peekable();
        for (place, (_, slot)) in self.over.drain(..).enumerate() {
            let Some(Waiting { mut job, .. }) = slot else { continue };
            let error = errors.next_if(|(odd, _)| *odd == place);
            job.body.as_mut().end(error.map_or(JobError::Cancelled, |(_, error)| error));
        }
    }
}

/// How many to take after a handful of short jobs.
fn more(handful: usize, share: Duration) -> usize {
    let in_a_breath = BREATH.as_nanos() / share.as_nanos().max(1);
    let bound = usize::try_from(in_a_breath).unwrap_or(HANDFUL).min(HANDFUL);
    (handful * 2).min(bound)
}

/// Counts how long jobs waited until `end`. Jobs that came one after the other often came at
/// the same moment, as far as anybody looked.
fn count_waits(wait: &mut Histogram, end: Instant, begins: impl Iterator<Item = Instant>) {
    let mut run: Option<(Instant, u64)> = None;
    for begin in begins {
        match &mut run {
            Some((since, times)) if *since == begin => *times += 1,
            run => {
                if let Some((since, times)) = run.replace((begin, 1)) {
                    wait.record(end.saturating_duration_since(since), times);
                }
            }
        }
    }
    if let Some((since, times)) = run {
        wait.record(end.saturating_duration_since(since), times);
    }
}

impl Future for Turn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let limits = this.shard.root.limits;
        let turn_began = rt::now();
        let mut left = limits.turn_jobs.max(1) as usize;
        match this.phase {
            Phase::Fresh => this.advance(turn_began, left),
            Phase::Paused => {
                this.clock = turn_began;
                this.phase = Phase::Running;
                this.expire();
            }
            Phase::Running | Phase::Over => {}
        }
        while this.phase == Phase::Running {
            ready!(this.run(cx));
            let now = rt::now();
            left = left.saturating_sub(this.runs as usize);
            let spent = now.saturating_duration_since(turn_began);
            let pause = left == 0 || spent >= limits.turn_time;
            this.advance(now, if pause { 1 } else { left });
            if pause && this.phase == Phase::Running {
                this.phase = Phase::Paused;
            }
            this.shard.keep_time((this.handful > 1).then_some(now));
        }
        if this.phase == Phase::Over {
            if this.handful > 1 {
                this.shard.keep_time(None);
            }
            return Poll::Ready(());
        }
        // Others first: a task that wakes itself goes to the end of the runtime's queue.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Turn {
    /// A turn ends early only if its runtime ends: nobody will run this key's jobs.
    fn drop(&mut self) {
        if self.phase == Phase::Over {
            return;
        }
        let mut state = self.shard.lock();
        let (waiting, ..) = state.lanes.cancel_key(&self.at);
        let _ = state.lanes.leave(&self.at);
        drop(state);
        let taken = self.over.drain(..).chain(self.hand.drain(..));
        let taken = taken.filter_map(|(_, slot)| slot).map(|taken| taken.job);
        self.shard.retire(taken.chain(waiting), &JobError::Cancelled);
    }
}
