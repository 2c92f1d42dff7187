//! Jobs of key 0: not serialised, so they have no lane. What is left to do is to count them and
//! to reach those that wait when all are to end.

use std::collections::BTreeMap;
use std::task::Waker;
use std::time::Duration;

use crate::context::Seat;
use crate::direct::Lease;
use crate::error::JobError;
use crate::gate::Kind;
use crate::shard::wake;
use crate::stats::Ended;
use crate::sync::{AtomicU64, Mutex, Ordering, lock};
use crate::tally::of_error;

/// What has to be known of those jobs of key 0 that came by one shard, beyond what the gate counts.
#[derive(Debug, Default)]
pub(crate) struct FreeJobs {
    /// Jobs with lower numbers are to end.
    cancelled_below: AtomicU64,
    failures: Mutex<Ended>,
    /// Where to reach the jobs that have waited.
    parked: Mutex<BTreeMap<u64, Waker>>,
}

impl FreeJobs {
    /// Ends all jobs, those included that are only being started.
    pub(crate) fn cancel_all(&self) {
        self.cancel_below(u64::MAX);
    }

    /// Ends the jobs that so many have not come before.
    pub(crate) fn cancel_below(&self, number: u64) {
        self.cancelled_below.fetch_max(number, Ordering::AcqRel);
        let mut parked = lock(&self.parked);
        let spared = parked.split_off(&number);
        let reached = std::mem::replace(&mut *parked, spared);
        drop(parked);
        wake(reached.into_values());
    }

    /// How jobs have ended otherwise than with a result.
    pub(crate) fn failures(&self) -> Ended {
        *lock(&self.failures)
    }
}

/// The right to run without a key.
pub(crate) struct FreeLease {
    seat: Option<Seat>,
    bytes: u64,
    parked: bool,
}

impl FreeLease {
    pub(crate) fn new(seat: Seat, bytes: u64) -> Self {
        Self { seat: Some(seat), bytes, parked: false }
    }
}

impl Lease for FreeLease {
    fn seat(&mut self) -> &mut Option<Seat> {
        &mut self.seat
    }

    fn interrupted(&mut self) -> Option<JobError> {
        let seat = self.seat.as_ref()?;
        let below = seat.shard.free.cancelled_below.load(Ordering::Acquire);
        (seat.id < below).then(|| seat.shard.root.interruption())
    }

    fn waits(&mut self, waker: &Waker) -> Option<JobError> {
        if std::mem::replace(&mut self.parked, true) {
            return None;
        }
        let seat = self.seat.as_ref()?;
        lock(&seat.shard.free.parked).insert(seat.id, waker.clone());
        // Whoever cancelled before the insertion did not find this job; it finds them.
        self.interrupted()
    }

    fn end(&mut self, error: Option<&JobError>, times: Option<(Duration, Duration)>) {
        let Some(seat) = self.seat.take() else { return };
        let Seat { shard, id, .. } = &seat;
        if self.parked {
            lock(&shard.free.parked).remove(id);
        }
        shard.root.end_waits(Some(*id), || seat.waiter());
        if let Some(error) = error {
            *of_error(&mut lock(&shard.free.failures), error) += 1;
        }
        if let Some((lag, run)) = times {
            shard.lock().tally.sampled(lag, run);
        }
        shard.root.leave(Kind::Free, *id, 1, self.bytes);
    }
}

impl Drop for FreeLease {
    fn drop(&mut self) {
        self.end(Some(&JobError::Cancelled), None);
    }
}
