//! The task that minds a shard's timers: deadlines and the ends of pauses.

use std::time::Instant;

use crate::error::JobError;
use crate::lanes::Fired;
use crate::rt;
use crate::shard::{Pass, Shard, State};
use crate::sync::Arc;

/// Timers handled under one hold of the lock.
const BATCH: usize = 128;

impl Shard {
    /// Sees to it that the alarm goes off in time for the earliest timer. True if there is no
    /// alarm: the caller starts it once the lock is free.
    #[must_use]
    pub(crate) fn arm(&self, state: &mut State) -> bool {
        let Some(next) = state.lanes.next_timer() else { return false };
        let set = state.alarm_at;
        if set.is_some_and(|at| at <= next) {
            return false;
        }
        state.alarm_at = Some(next);
        if set.is_some() {
            self.alarm.notify_one();
        }
        set.is_none()
    }
}

impl Pass {
    /// Starts the alarm, which ends by itself once no timer is left.
    pub(crate) fn start_alarm(self: &Arc<Self>) {
        drop(self.root.runtime.spawn(mind(Arc::clone(self))));
    }

    /// Handles what is due and says when to look again. With no timer left the alarm is off
    /// from this moment on.
    fn fire(self: &Arc<Self>, now: Instant) -> Option<Instant> {
        let mut expired = Vec::new();
        let mut turns = Vec::new();
        let mut state = self.lock();
        for _ in 0..BATCH {
            match state.lanes.fire(now) {
                Some(Fired::Expired { at, id, job }) => {
                    self.root.end_waits_for(&at, id);
                    expired.push(job);
                }
                Some(Fired::Turn(at)) => turns.push(at),
                Some(Fired::Moved) => {}
                None => break,
            }
        }
        let next = state.lanes.next_timer();
        state.alarm_at = next;
        drop(state);
        for at in turns {
            self.start_turn(at);
        }
        self.retire(expired, &JobError::Expired);
        next
    }
}

async fn mind(shard: Arc<Pass>) {
    while let Some(next) = shard.fire(rt::now()) {
        rt::until(next, shard.alarm.notified()).await;
    }
}
