//! A job that starts at once: the runtime polls it directly, and the task's own allocation
//! holds the job and its result.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pin_project_lite::pin_project;

use crate::context::{Seat, seated};
use crate::error::JobError;
use crate::gate::Kind;
use crate::job::guarded;
use crate::key::{Hashed, Key};
use crate::lanes::Id;
use crate::release::release;
use crate::rt;
use crate::tally::Sample;

pin_project! {
    /// The task of a job that found its key free.
    pub(crate) struct Direct<F, L> {
        // Dropped before the lease, which lets the key's next job start.
        #[pin]
        future: Option<F>,
        lease: L,
        sample: Option<Box<Sample>>,
    }
}

/// The right to run, which ends with the job or with the task.
pub(crate) trait Lease {
    /// What the job is known by.
    fn seat(&mut self) -> &mut Option<Seat>;

    /// Why the job has to end, if it has to.
    fn interrupted(&mut self) -> Option<JobError>;

    /// The job waits now and can be reached by `waker`. Why it has to end, if it has to.
    fn waits(&mut self, waker: &Waker) -> Option<JobError>;

    /// The job has ended and its future is gone. Only the first call counts.
    fn end(&mut self, error: Option<&JobError>, times: Option<(Duration, Duration)>);
}

impl<F, L> Direct<F, L> {
    pub(crate) fn new(future: F, lease: L, sample: Option<Box<Sample>>) -> Self {
        Self { future: Some(future), lease, sample }
    }
}

pin_project! {
    /// A future that cannot fail, as one that can. An `async` block would say the same, but
    /// would hold the future twice.
    pub(crate) struct Infallible<F> {
        #[pin]
        future: F,
    }
}

impl<F> Infallible<F> {
    pub(crate) fn new(future: F) -> Self {
        Self { future }
    }
}

impl<F: Future> Future for Infallible<F> {
    type Output = Result<F::Output, JobError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().future.poll(cx).map(Ok)
    }
}

impl<F, T, L> Future for Direct<F, L>
where
    F: Future<Output = Result<T, JobError>>,
    L: Lease,
{
    type Output = Result<T, JobError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let interrupted = this.lease.interrupted().or_else(|| {
            let in_time = this.sample.as_mut()?.start(rt::now);
            (!in_time).then_some(JobError::Expired)
        });
        let result = match interrupted {
            Some(error) => Err(error),
            None => {
                let future = &mut this.future;
                let poll = || guarded(|| future.as_mut().as_pin_mut().map(|f| f.poll(cx)));
                match seated(this.lease.seat(), poll) {
                    Ok(Some(Poll::Ready(result))) => result,
                    Ok(Some(Poll::Pending)) => match this.lease.waits(cx.waker()) {
                        None => return Poll::Pending,
                        Some(error) => Err(error),
                    },
                    Ok(None) => Err(JobError::Cancelled),
                    Err(error) => Err(error),
                }
            }
        };
        let result = guarded(|| this.future.set(None)).and(result);
        let times = this.sample.as_ref().and_then(|sample| sample.times(rt::now));
        this.lease.end(result.as_ref().err(), times);
        Poll::Ready(result)
    }
}

/// The turn of a lane, held by a job that is not in the lane's queue.
pub(crate) struct KeyLease {
    seat: Option<Seat>,
    hash: u64,
    number: u64,
    bytes: u64,
    cancels_seen: u64,
    attached: bool,
}

impl KeyLease {
    /// `cancels_seen` was read under the lock that the turn was taken under.
    pub(crate) fn new(seat: Seat, hash: u64, number: u64, bytes: u64, cancels_seen: u64) -> Self {
        Self { seat: Some(seat), hash, number, bytes, cancels_seen, attached: false }
    }

    pub(crate) fn key(&self) -> Key {
        self.seat.as_ref().map_or(Key::UNLIMITED, |seat| seat.key.clone())
    }
}

impl Lease for KeyLease {
    fn seat(&mut self) -> &mut Option<Seat> {
        &mut self.seat
    }

    fn interrupted(&mut self) -> Option<JobError> {
        let seat = self.seat.as_ref()?;
        let cancels = seat.shard.cancels.load(crate::sync::Ordering::Acquire);
        if cancels == self.cancels_seen {
            return None;
        }
        let at = Hashed { key: seat.key.clone(), hash: self.hash };
        seat.shard.interrupted(&at, Id::new(seat.id)?, &mut self.cancels_seen)
    }

    fn waits(&mut self, waker: &Waker) -> Option<JobError> {
        if std::mem::replace(&mut self.attached, true) {
            return None;
        }
        let seat = self.seat.as_ref()?;
        let at = Hashed { key: seat.key.clone(), hash: self.hash };
        seat.shard.attach(&at, Id::new(seat.id)?, waker)
    }

    fn end(&mut self, error: Option<&JobError>, times: Option<(Duration, Duration)>) {
        let Some(Seat { shard, key, id }) = self.seat.take() else { return };
        let at = Hashed { key, hash: self.hash };
        shard.root.end_waits(Some(id), || crate::waits::Waiter::Key(at.key.clone()));
        let more = release(&shard, &at, |tally| {
            match error {
                None => tally.count_completed(1),
                Some(error) => tally.count_ended(error, 1),
            }
            if let Some((lag, run)) = times {
                tally.sampled(lag, run);
            }
        });
        if more {
            shard.start_turn(at);
        }
        shard.root.leave(Kind::Keyed, self.number, 1, self.bytes);
    }
}

impl Drop for KeyLease {
    fn drop(&mut self) {
        self.end(Some(&JobError::Cancelled), None);
    }
}
