//! Jobs of key 0: not serialised, so they have no lane. What is left to do is to count them and
//! to reach those that wait when all are to end.

use std::collections::BTreeMap;
use std::task::Waker;
use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::context::Seat;
use crate::direct::Lease;
use crate::error::JobError;
use crate::shard::wake;
use crate::stats::Stats;
use crate::sync::{AtomicU64, Mutex, Ordering, lock};
use crate::tally::of_error;
use crate::waits::Waiter;

/// The jobs of key 0 that were started from one shard.
#[derive(Debug)]
pub(crate) struct FreeJobs {
    shard: u64,
    // Apart, because those who start jobs and those who end them are on different cores.
    started: CachePadded<AtomicU64>,
    /// Jobs with lower numbers are to end.
    cancelled_below: AtomicU64,
    completed: CachePadded<AtomicU64>,
    failures: Mutex<crate::stats::Ended>,
    /// Where to reach the jobs that have waited.
    parked: Mutex<BTreeMap<u64, Waker>>,
}

impl FreeJobs {
    pub(crate) fn new(shard: u64) -> Self {
        Self {
            shard,
            started: CachePadded::new(AtomicU64::new(0)),
            cancelled_below: AtomicU64::new(0),
            completed: CachePadded::new(AtomicU64::new(0)),
            failures: Mutex::default(),
            parked: Mutex::default(),
        }
    }

    /// Counts a job in and numbers it.
    pub(crate) fn start(&self) -> u64 {
        self.started.fetch_add(1, Ordering::Relaxed)
    }

    /// A name among the jobs of all shards.
    pub(crate) fn waiter(&self, number: u64) -> Waiter {
        Waiter::Free(number << 16 | self.shard)
    }

    /// Ends the jobs that have started so far and says how many had not ended.
    pub(crate) fn cancel_started(&self) -> u64 {
        let started = self.started.load(Ordering::Acquire);
        let active = started - self.ended().min(started);
        self.cancel_below(started);
        active
    }

    /// Ends all jobs, those included that are only being started.
    pub(crate) fn cancel_all(&self) {
        self.cancel_below(u64::MAX);
    }

    pub(crate) fn add_to(&self, stats: &mut Stats) {
        stats.at_once += self.started.load(Ordering::Relaxed);
        stats.ended.completed += self.completed.load(Ordering::Relaxed);
        stats.ended.add(&lock(&self.failures));
    }

    fn cancel_below(&self, number: u64) {
        self.cancelled_below.fetch_max(number, Ordering::AcqRel);
        let mut parked = lock(&self.parked);
        let spared = parked.split_off(&number);
        let reached = std::mem::replace(&mut *parked, spared);
        drop(parked);
        wake(reached.into_values());
    }

    fn ended(&self) -> u64 {
        self.completed.load(Ordering::Acquire) + lock(&self.failures).total()
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
        shard.root.forget_waits(|| seat.waiter());
        match error {
            None => drop(shard.free.completed.fetch_add(1, Ordering::AcqRel)),
            Some(error) => *of_error(&mut lock(&shard.free.failures), error) += 1,
        }
        if let Some((lag, run)) = times {
            shard.lock().tally.sampled(lag, run);
        }
        shard.root.leave(1, self.bytes);
    }
}

impl Drop for FreeLease {
    fn drop(&mut self) {
        self.end(Some(&JobError::Cancelled), None);
    }
}
