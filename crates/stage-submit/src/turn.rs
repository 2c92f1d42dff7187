//! The task that runs the queued jobs of one key.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use crate::context::{Seat, seated};
use crate::error::JobError;
use crate::job::{Queued, Step};
use crate::key::Hashed;
use crate::lanes::{Held, Id, Next};
use crate::rt;
use crate::shard::{Shard, State, after};
use crate::sync::{Arc, MutexGuard};
use crate::waits::Waiter;

/// Most jobs taken under one hold of the lock.
const HANDFUL: usize = 8;
/// Jobs that take longer than this are taken one by one, and each is timed by itself.
const SHORT: Duration = Duration::from_micros(2);

/// Holds a lane's turn and runs its queue, in turns of bounded length, until it is empty. One
/// task serves many jobs: between two jobs of a busy key no task is created, woken or switched.
///
/// While jobs turn out to be short, they are taken by the handful: one hold of the lock and one
/// look at the clock for several. The first job that waits for something ends that: the
/// others go back to the front of the queue, where deadlines and cancellations find them.
pub(crate) struct Turn {
    shard: Arc<Shard>,
    at: Hashed,
    seat: Option<Seat>,
    /// The job that runs, and those to run after it.
    hand: VecDeque<Held<Queued>>,
    /// Jobs that have run and whose end is not yet known to anybody.
    ended: Vec<Ended>,
    /// When the clock was last read for the jobs in hand.
    clock: Instant,
    handful: usize,
    cancels_seen: u64,
    attached: bool,
    /// The first job in hand was taken, but others went first.
    paused: bool,
    over: bool,
}

struct Ended {
    id: Id,
    job: Queued,
    fate: Fate,
    /// How long it had waited, if that has not been counted.
    waited: Option<Duration>,
}

/// How a run ended.
enum Fate {
    Completed,
    Failed(JobError),
    Again(Duration),
}

impl Turn {
    pub(crate) fn new(shard: Arc<Shard>, at: Hashed) -> Self {
        let seat = Seat { shard: Arc::clone(&shard), key: at.key.clone(), id: 0 };
        Self {
            shard,
            at,
            seat: Some(seat),
            hand: VecDeque::new(),
            ended: Vec::new(),
            clock: rt::now(),
            handful: 1,
            cancels_seen: 0,
            attached: false,
            paused: false,
            over: false,
        }
    }

    /// Runs the first job in hand until it waits or is over.
    fn run(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(id) = self.hand.front().map(|held| held.id) {
            let interrupted = self.interrupted(id);
            let Some(held) = self.hand.front_mut() else { break };
            let body = held.job.body.as_mut();
            let fate = match interrupted {
                Some(error) => Fate::Failed(error),
                None => match seated(&mut self.seat, || body.poll(cx)) {
                    Poll::Ready(Step::Completed) => Fate::Completed,
                    Poll::Ready(Step::Panicked(error)) => Fate::Failed(error),
                    Poll::Ready(Step::Again(pause)) => Fate::Again(pause),
                    Poll::Pending => match self.suspend(id, cx) {
                        None => return Poll::Pending,
                        Some(error) => Fate::Failed(error),
                    },
                },
            };
            self.shard.root.forget_waits(|| Waiter::Key(self.at.key.clone()));
            let Some(Held { job, since, .. }) = self.hand.pop_front() else { break };
            // The first of a handful was counted when it was taken.
            let first = self.ended.is_empty();
            let waited = (!first).then(|| self.clock.saturating_duration_since(since));
            self.ended.push(Ended { id, job, fate, waited });
        }
        Poll::Ready(())
    }

    fn interrupted(&mut self, id: Id) -> Option<JobError> {
        let mut seen = self.cancels_seen;
        let interrupted = self.shard.interrupted(&self.at, id, &mut seen);
        if self.hand.len() == 1 {
            // With more in hand it may be one of these that was cancelled: keep looking.
            self.cancels_seen = seen;
        }
        interrupted
    }

    /// The first job in hand waits. It keeps the key alone: the others go back, and the ends of those
    /// before it become known. Says why it has to end, if it has to.
    fn suspend(&mut self, id: Id, cx: &Context<'_>) -> Option<JobError> {
        if std::mem::replace(&mut self.handful, 1) > 1 {
            self.shard.keep_time(None);
        }
        let mut condemned = Vec::new();
        if !self.ended.is_empty() || self.hand.len() > 1 {
            let now = rt::now();
            let runs = self.ended.len() as u32;
            let share = now.saturating_duration_since(self.clock) / (runs + 1);
            self.clock = now.checked_sub(share).unwrap_or(now);
            let shard = Arc::clone(&self.shard);
            let mut state = shard.lock();
            let told = self.settle(&mut state, now, share);
            let rest = self.hand.drain(1..);
            let ran = (u64::from(runs), share * runs);
            condemned = state.lanes.put_back(&self.at, id, rest, ran);
            self.tell(state, told);
        }
        self.shard.retire(condemned, &JobError::Cancelled);
        if std::mem::replace(&mut self.attached, true) {
            return None;
        }
        self.shard.attach(&self.at, id, cx.waker())
    }

    /// Puts away the jobs that have run and takes the next ones, at most `most`.
    fn advance(&mut self, now: Instant, most: usize) {
        let runs = self.ended.len() as u32;
        let spent = now.saturating_duration_since(self.clock);
        let share = spent / runs.max(1);
        if runs > 0 {
            self.handful = if share < SHORT { (self.handful * 2).min(HANDFUL) } else { 1 };
        }
        self.clock = now;
        let shard = Arc::clone(&self.shard);
        let mut state = shard.lock();
        let told = self.settle(&mut state, now, share);
        let mut expired = Vec::new();
        let mut ran = (u64::from(runs), spent);
        loop {
            match state.lanes.next(&self.at, now, std::mem::take(&mut ran)) {
                Next::Run(held) => self.hand.push_back(held),
                Next::Expired { job, .. } => {
                    expired.push(job);
                    continue;
                }
                Next::Idle => self.over = true,
            }
            break;
        }
        if self.handful.min(most) > 1 && !self.over {
            state.lanes.take_along(&self.at, self.handful.min(most) - 1, &mut self.hand);
        }
        if let Some(first) = self.hand.front() {
            state.tally.wait.record(now.saturating_duration_since(first.since), 1);
        }
        self.tell(state, told);
        self.shard.retire(expired, &JobError::Expired);
    }

    /// Counts what has run and sends those to sleep that will run again. Returns those that are over.
    fn settle(
        &mut self,
        state: &mut State,
        now: Instant,
        share: Duration,
    ) -> Vec<(Queued, JobError)> {
        if self.ended.is_empty() {
            return Vec::new();
        }
        state.tally.run.record(share, self.ended.len() as u64);
        let mut told = Vec::with_capacity(self.ended.len());
        for Ended { id, job, fate, waited } in self.ended.drain(..) {
            if let Some(waited) = waited {
                state.tally.wait.record(waited, 1);
            }
            match fate {
                Fate::Completed => {
                    state.tally.count_completed();
                    told.push((job, JobError::Cancelled));
                }
                Fate::Failed(error) => {
                    state.tally.count_ended(&error, 1);
                    told.push((job, error));
                }
                Fate::Again(pause) => {
                    let refused = state.lanes.pause(&self.at, id, job, after(now, pause));
                    if let Some(job) = refused {
                        let error = self.shard.root.repeat_ended();
                        state.tally.count_ended(&error, 1);
                        told.push((job, error));
                    }
                }
            }
        }
        told
    }

    /// Tells the handles, after all else: who hears of an end finds the place in the queue free.
    fn tell(&self, mut state: MutexGuard<'_, State>, told: Vec<(Queued, JobError)>) {
        let alarm = self.shard.arm(&mut state);
        drop(state);
        if alarm {
            self.shard.start_alarm();
        }
        if told.is_empty() {
            return;
        }
        let bytes = told.iter().map(|(job, _)| job.bytes).sum();
        self.shard.root.leave(told.len() as u64, bytes);
        for (mut job, error) in told {
            job.body.as_mut().end(error);
        }
    }
}

impl Future for Turn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let limits = this.shard.root.limits;
        let turn_began = rt::now();
        let mut left = limits.turn_jobs.max(1) as usize;
        if this.hand.is_empty() {
            this.advance(turn_began, left);
        } else if std::mem::take(&mut this.paused) {
            this.clock = turn_began;
        }
        while !this.over {
            ready!(this.run(cx));
            let now = rt::now();
            left = left.saturating_sub(this.ended.len());
            let spent = now.saturating_duration_since(turn_began);
            let pause = left == 0 || spent >= limits.turn_time;
            this.advance(now, if pause { 1 } else { left });
            let short = this.handful > 1 && !pause && !this.over;
            this.shard.keep_time(short.then_some(now));
            if pause && !this.over {
                // Others first: a task that wakes itself goes to the end of the runtime's queue.
                this.paused = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }
}

impl Drop for Turn {
    /// A turn ends early only if its runtime ends: nobody will run this key's jobs.
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let mut state = self.shard.lock();
        let (waiting, ..) = state.lanes.cancel_key(&self.at);
        let _ = state.lanes.leave(&self.at);
        drop(state);
        let hand = self.hand.drain(..).map(|held| held.job);
        let ended = self.ended.drain(..).map(|ended| ended.job);
        self.shard.retire(ended.chain(hand).chain(waiting), &JobError::Cancelled);
    }
}
