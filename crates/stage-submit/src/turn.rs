//! The task that runs the queued jobs of one key.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::context::{Seat, seated};
use crate::error::JobError;
use crate::job::{Queued, Step};
use crate::key::Hashed;
use crate::lanes::{Id, Next};
use crate::rt;
use crate::shard::{Shard, after};
use crate::sync::Arc;
use crate::waits::Waiter;

/// Holds a lane's turn and runs its queue, in turns of bounded length, until it is empty. One
/// task serves many jobs: between two jobs of a busy key no task is created, woken or switched.
pub(crate) struct Turn {
    shard: Arc<Shard>,
    at: Hashed,
    seat: Option<Seat>,
    running: Option<Running>,
    cancels_seen: u64,
    attached: bool,
    over: bool,
}

struct Running {
    id: Id,
    job: Queued,
    started: Instant,
}

/// How a run ended.
enum Fate {
    Over(Step),
    Interrupted(JobError),
}

impl Turn {
    pub(crate) fn new(shard: Arc<Shard>, at: Hashed) -> Self {
        let seat = Seat { shard: Arc::clone(&shard), key: at.key.clone(), id: 0 };
        Self {
            shard,
            at,
            seat: Some(seat),
            running: None,
            cancels_seen: 0,
            attached: false,
            over: false,
        }
    }

    /// Runs the job in hand until it waits or is over.
    fn run(&mut self, cx: &mut Context<'_>) -> Poll<Fate> {
        let Some(running) = &mut self.running else {
            return Poll::Ready(Fate::Interrupted(JobError::Cancelled));
        };
        if let Some(error) = self.shard.interrupted(&self.at, &mut self.cancels_seen) {
            return Poll::Ready(Fate::Interrupted(error));
        }
        let body = running.job.body.as_mut();
        if let Poll::Ready(step) = seated(&mut self.seat, || body.poll(cx)) {
            return Poll::Ready(Fate::Over(step));
        }
        if !std::mem::replace(&mut self.attached, true)
            && let Some(error) = self.shard.attach(&self.at, cx.waker())
        {
            return Poll::Ready(Fate::Interrupted(error));
        }
        Poll::Pending
    }

    /// Puts away the job that has run, takes the next one, and only then tells the handles: who
    /// hears of an end finds the place in the queue free again.
    fn advance(&mut self, fate: Option<Fate>, now: Instant) {
        let ended = self.running.take().zip(fate);
        let mut expired = Vec::new();
        let mut state = self.shard.lock();
        let ran = ended.as_ref().map(|(running, _)| now.duration_since(running.started));
        if let Some(ran) = ran {
            state.tally.run.record(ran, 1);
        }
        let ended = ended.and_then(|(Running { id, job, .. }, fate)| match fate {
            Fate::Over(Step::Again(pause)) => {
                let back = state.lanes.pause(&self.at, id, job, after(now, pause));
                back.map(|job| (job, Some(self.shard.root.repeat_ended())))
            }
            Fate::Over(Step::Completed) => Some((job, None)),
            Fate::Over(Step::Panicked) => {
                let message = String::new();
                Some((job, Some(JobError::Panicked { message })))
            }
            Fate::Interrupted(error) => Some((job, Some(error))),
        });
        match &ended {
            Some((_, None)) => state.tally.count_completed(),
            Some((_, Some(error))) => state.tally.count_ended(error, 1),
            None => {}
        }
        let mut ran = ran;
        loop {
            match state.lanes.next(&self.at, now, ran.take()) {
                Next::Run { id, job, since } => {
                    state.tally.wait.record(now.saturating_duration_since(since), 1);
                    self.running = Some(Running { id, job, started: now });
                }
                Next::Expired { job, .. } => {
                    expired.push(job);
                    continue;
                }
                Next::Idle => self.over = true,
            }
            break;
        }
        let alarm = self.shard.arm(&mut state);
        drop(state);
        if alarm {
            self.shard.start_alarm();
        }
        self.shard.root.forget_waits(|| Waiter::Key(self.at.key.clone()));
        if let Some((mut job, error)) = ended {
            self.shard.root.leave(job.bytes);
            job.body.as_mut().end(error.unwrap_or(JobError::Cancelled));
        }
        self.shard.retire(expired, &JobError::Expired);
    }
}

impl Future for Turn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let turn_began = rt::now();
        let limits = this.shard.root.limits;
        if this.running.is_none() {
            this.advance(None, turn_began);
        }
        let mut jobs = 0;
        while !this.over {
            let fate = std::task::ready!(this.run(cx));
            let now = rt::now();
            this.advance(Some(fate), now);
            jobs += 1;
            let spent = now.saturating_duration_since(turn_began);
            if !this.over && (jobs >= limits.turn_jobs || spent >= limits.turn_time) {
                // Others first: a task that wakes itself goes to the end of the runtime's queue.
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
        let running = self.running.take();
        let mut state = self.shard.lock();
        let (waiting, _) = state.lanes.cancel_key(&self.at);
        let _idle = state.lanes.leave(&self.at);
        drop(state);
        self.shard.retire(running.map(|running| running.job), &JobError::Cancelled);
        self.shard.retire(waiting, &JobError::Cancelled);
    }
}
