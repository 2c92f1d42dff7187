//! Admission: the bounds that all keys share, and the door that closes.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};

use crossbeam_utils::CachePadded;

use crate::error::{Scope, SubmitError};
use crate::limits::Limits;
use crate::sync::AtomicU64;

/// Counts unended jobs and their bytes against the limits, and sees whether the door is closed.
///
/// Who enters and who leaves are mostly on different cores, so they count in different places; who
/// enters looks at the other count only when the one remembered says that the place may be full.
///
/// Submitters that race for the last place may refuse one job too many for an instant (a refused one
/// counts until it steps back), never admit one too many.
#[derive(Debug)]
pub(crate) struct Gate {
    entrance: CachePadded<Entrance>,
    left: CachePadded<AtomicU64>,
    /// One once the door is closed.
    closed: AtomicU64,
    bytes: AtomicU64,
    total_limit: u64,
    bytes_limit: u64,
}

#[derive(Debug)]
struct Entrance {
    entered: AtomicU64,
    /// How many had left when somebody last looked; never more than have.
    seen_left: AtomicU64,
}

impl Gate {
    pub(crate) fn new(limits: &Limits) -> Self {
        let entrance = Entrance { entered: AtomicU64::new(0), seen_left: AtomicU64::new(0) };
        Self {
            entrance: CachePadded::new(entrance),
            left: CachePadded::new(AtomicU64::new(0)),
            closed: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            total_limit: limits.total as u64,
            bytes_limit: limits.bytes,
        }
    }

    /// Takes a place for one job of `bytes`, to be given back by [`Gate::leave`].
    pub(crate) fn enter(&self, bytes: u64) -> Result<(), Refused> {
        let before = self.entrance.entered.fetch_add(1, SeqCst);
        let refusal = if self.is_closed() {
            SubmitError::Closed
        } else if let Err(depth) = self.fits(before) {
            SubmitError::QueueFull { scope: Scope::Total, depth, limit: self.total_limit }
        } else if let Err(held) = self.weigh(bytes) {
            SubmitError::QueueFull { scope: Scope::Bytes, depth: held, limit: self.bytes_limit }
        } else {
            return Ok(());
        };
        Err(Refused { error: refusal, emptied: self.leave(1, 0) })
    }

    /// Gives places back. True if the door is closed and nobody is inside any more.
    #[must_use]
    pub(crate) fn leave(&self, jobs: u64, bytes: u64) -> bool {
        if bytes > 0 {
            self.bytes.fetch_sub(bytes, AcqRel);
        }
        let left = self.left.fetch_add(jobs, SeqCst) + jobs;
        // Whoever closes looks for those inside after that, and whoever leaves looks for a closed door
        // after this: one of both sees the other.
        self.is_closed() && self.entrance.entered.load(SeqCst) == left
    }

    /// No job enters from now on.
    pub(crate) fn close(&self) {
        self.closed.store(1, SeqCst);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(SeqCst) != 0
    }

    pub(crate) fn depth(&self) -> u64 {
        // In this order, so that nobody is seen to leave who was not seen to enter.
        let left = self.left.load(SeqCst);
        self.entrance.entered.load(SeqCst) - left
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Whether one more fits after so many have entered; else how many are inside.
    fn fits(&self, entered: u64) -> Result<(), u64> {
        let inside = |left: u64| entered.saturating_sub(left);
        if inside(self.entrance.seen_left.load(Relaxed)) < self.total_limit {
            return Ok(());
        }
        let left = self.left.load(SeqCst);
        self.entrance.seen_left.store(left, Relaxed);
        if inside(left) < self.total_limit { Ok(()) } else { Err(inside(left)) }
    }

    fn weigh(&self, bytes: u64) -> Result<(), u64> {
        if bytes == 0 {
            return Ok(());
        }
        let fits = |held: u64| held.checked_add(bytes).filter(|sum| *sum <= self.bytes_limit);
        self.bytes.fetch_update(AcqRel, Acquire, fits).map(drop)
    }
}

/// A refusal, and whether stepping back emptied a closed scheduler.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) error: SubmitError,
    pub(crate) emptied: bool,
}
