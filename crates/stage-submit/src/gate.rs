//! Admission: the bounds that all keys share, and the door that closes.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

use crate::error::{Scope, SubmitError};
use crate::limits::Limits;
use crate::sync::AtomicU64;

/// The top bit of [`Gate::state`]; the other bits count jobs.
const CLOSED: u64 = 1 << 63;

/// Counts unended jobs and their bytes against the limits. One atomic addition admits a job,
/// checks the bound and sees whether the door is closed.
///
/// Submitters that race for the last place may refuse one job too many for an instant (a refused one
/// counts until it steps back), never admit one too many.
#[derive(Debug)]
pub(crate) struct Gate {
    state: AtomicU64,
    bytes: AtomicU64,
    total_limit: u64,
    bytes_limit: u64,
}

impl Gate {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            state: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            total_limit: limits.total as u64,
            bytes_limit: limits.bytes,
        }
    }

    /// Takes a place for one job of `bytes`, to be given back by [`Gate::leave`].
    pub(crate) fn enter(&self, bytes: u64) -> Result<(), Refused> {
        let before = self.state.fetch_add(1, AcqRel);
        let depth = before & !CLOSED;
        let refusal = if before & CLOSED != 0 {
            SubmitError::Closed
        } else if depth >= self.total_limit {
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
        self.state.fetch_sub(jobs, AcqRel) == CLOSED | jobs
    }

    /// No job enters from now on.
    pub(crate) fn close(&self) {
        self.state.fetch_or(CLOSED, AcqRel);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.load(Acquire) & CLOSED != 0
    }

    pub(crate) fn depth(&self) -> u64 {
        self.state.load(Acquire) & !CLOSED
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
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
