//! Admission: the bounds that all keys share, and the door that closes.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};

use crossbeam_utils::CachePadded;

use crate::error::{Scope, SubmitError};
use crate::limits::Limits;
use crate::sync::AtomicU64;

/// In how many places those who leave count.
const EXITS: usize = 8;
/// How many jobs that entered one after the other leave by the same exit: most often they ran on one thread.
pub(crate) const TOGETHER: u64 = 64;

/// Counts unended jobs and their bytes against the limits, and sees whether the door is closed.
///
/// Who enters and who leaves are mostly on different cores, and so are those who leave; they count in
/// different places. Who enters looks at the other counts only when the one remembered says that the place
/// may be full.
///
/// Submitters that race for the last place may refuse one job too many for an instant (a refused one
/// counts until it steps back), never admit one too many.
#[derive(Debug)]
pub(crate) struct Gate {
    keyed: Side,
    free: Side,
    /// One once the door is closed.
    closed: AtomicU64,
    bytes: AtomicU64,
    total_limit: u64,
    bytes_limit: u64,
}

/// What a job that enters or leaves is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It has a key.
    Keyed,
    /// It has none: key 0.
    Free,
}

/// The counts of the jobs of one kind.
#[derive(Debug)]
struct Side {
    entrance: CachePadded<Entrance>,
    exits: [CachePadded<AtomicU64>; EXITS],
    /// How many of those who entered were refused inside.
    refused: AtomicU64,
}

#[derive(Debug)]
struct Entrance {
    entered: AtomicU64,
    /// How many of both kinds had left when somebody last looked; never more than have.
    seen_left: AtomicU64,
}

impl Gate {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            keyed: Side::new(),
            free: Side::new(),
            closed: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            total_limit: limits.total as u64,
            bytes_limit: limits.bytes,
        }
    }

    /// Takes a place for one job of `bytes`, to be given back by [`Gate::leave`]. Says how many
    /// of its kind have entered before.
    #[inline]
    pub(crate) fn enter(&self, kind: Kind, bytes: u64) -> Result<u64, Refused> {
        let (side, other) = self.sides(kind);
        // Looked at first: it must not know of anybody who comes after this job.
        let seen_left = side.entrance.seen_left.load(Acquire);
        let number = side.entrance.entered.fetch_add(1, SeqCst);
        let before = number + other.entered();
        let refusal = if self.is_closed() {
            SubmitError::Closed
        } else if let Err(depth) = self.fits(before.saturating_sub(seen_left), side) {
            SubmitError::QueueFull { scope: Scope::Total, depth, limit: self.total_limit }
        } else if let Err(held) = self.weigh(bytes) {
            SubmitError::QueueFull { scope: Scope::Bytes, depth: held, limit: self.bytes_limit }
        } else {
            return Ok(number);
        };
        side.refused.fetch_add(1, Relaxed);
        Err(Refused { error: refusal, emptied: self.leave(kind, number, 1, 0) })
    }

    /// Gives places back; of which job is only about who counts where. True if the door is closed and
    /// nobody is inside any more.
    #[must_use]
    #[inline]
    pub(crate) fn leave(&self, kind: Kind, number: u64, jobs: u64, bytes: u64) -> bool {
        if bytes > 0 {
            self.bytes.fetch_sub(bytes, AcqRel);
        }
        let exit = (number / TOGETHER) as usize % EXITS;
        self.sides(kind).0.exits[exit].fetch_add(jobs, SeqCst);
        // Whoever closes looks for those inside after that, and whoever leaves looks for a closed door
        // after this: one of both sees the other. Of two who leave last, one sees that the other has.
        self.is_closed() && self.depth() == 0
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
        let left = self.left();
        self.keyed.entered() + self.free.entered() - left
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// How many of a kind have been accepted, and how many of these have ended.
    pub(crate) fn accepted_and_ended(&self, kind: Kind) -> (u64, u64) {
        let side = self.sides(kind).0;
        // Whoever is refused is counted in this order too.
        let left = side.left();
        let refused = side.refused.load(Relaxed);
        let accepted = side.entered().saturating_sub(refused);
        (accepted, left.saturating_sub(refused))
    }

    /// How many of a kind have entered, accepted or not.
    pub(crate) fn entered(&self, kind: Kind) -> u64 {
        self.sides(kind).0.entered()
    }

    fn sides(&self, kind: Kind) -> (&Side, &Side) {
        match kind {
            Kind::Keyed => (&self.keyed, &self.free),
            Kind::Free => (&self.free, &self.keyed),
        }
    }

    fn left(&self) -> u64 {
        self.keyed.left() + self.free.left()
    }

    /// Whether the caller, who has entered, fits beside so many at most; else how many others are inside.
    fn fits(&self, others: u64, side: &Side) -> Result<(), u64> {
        if others < self.total_limit {
            return Ok(());
        }
        // Of those who are inside together, the last to enter sees all of them here.
        let left = self.left();
        let inside = self.keyed.entered() + self.free.entered() - left;
        side.entrance.seen_left.store(left, Release);
        if inside <= self.total_limit { Ok(()) } else { Err(inside - 1) }
    }

    fn weigh(&self, bytes: u64) -> Result<(), u64> {
        if bytes == 0 {
            return Ok(());
        }
        let fits = |held: u64| held.checked_add(bytes).filter(|sum| *sum <= self.bytes_limit);
        self.bytes.fetch_update(AcqRel, Acquire, fits).map(drop)
    }
}

impl Side {
    fn new() -> Self {
        let entrance = Entrance { entered: AtomicU64::new(0), seen_left: AtomicU64::new(0) };
        Self {
            entrance: CachePadded::new(entrance),
            exits: std::array::from_fn(|_| CachePadded::new(AtomicU64::new(0))),
            refused: AtomicU64::new(0),
        }
    }

    fn entered(&self) -> u64 {
        self.entrance.entered.load(SeqCst)
    }

    fn left(&self) -> u64 {
        self.exits.iter().map(|exit| exit.load(SeqCst)).sum()
    }
}

/// A refusal, and whether stepping back emptied a closed scheduler.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) error: SubmitError,
    pub(crate) emptied: bool,
}
