//! Limits of a scheduler, and what one job may ask for.

use std::time::{Duration, Instant};

/// How much a scheduler accepts, and how long one key may keep a worker.
///
/// Depths count every job that was accepted and has not ended: waiting, running, or asleep
/// between two repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Most unended jobs of one key; one means "refuse if busy". Not for key 0, which has only
    /// the total. Default 100,000.
    pub per_key: usize,
    /// Most unended jobs of all keys together. Default 1,000,000.
    pub total: usize,
    /// Most bytes of all unended jobs together, as declared by [`Options::bytes`]. Default:
    /// no limit.
    pub bytes: u64,
    /// How many jobs of one key a worker runs before it serves other keys. Zero counts as one.
    /// Default 64.
    pub turn_jobs: u32,
    /// How long a worker stays with the jobs of one key before it serves other keys, looked at
    /// between two jobs. Default 200 us.
    pub turn_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            per_key: 100_000,
            total: 1_000_000,
            bytes: u64::MAX,
            turn_jobs: 64,
            turn_time: Duration::from_micros(200),
        }
    }
}

impl Limits {
    /// With another bound for one key.
    #[must_use]
    pub fn per_key(mut self, jobs: usize) -> Self {
        self.per_key = jobs;
        self
    }

    /// With another bound for all keys together.
    #[must_use]
    pub fn total(mut self, jobs: usize) -> Self {
        self.total = jobs;
        self
    }

    /// With a bound on declared bytes.
    #[must_use]
    pub fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self
    }

    /// With another budget per turn: a worker leaves a key after so many jobs or so much time,
    /// whichever comes first.
    #[must_use]
    pub fn turn(mut self, jobs: u32, time: Duration) -> Self {
        self.turn_jobs = jobs;
        self.turn_time = time;
        self
    }
}

/// What one job asks for beyond its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub(crate) deadline: Option<Instant>,
    pub(crate) bytes: u64,
}

impl Options {
    /// No deadline, no bytes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The job must have started by then; otherwise it never starts and its handle says
    /// [`Expired`](crate::JobError::Expired). A job that has started is not cut short, and the
    /// later runs of a repeating job have no deadline.
    #[must_use]
    pub fn deadline(mut self, at: impl Into<Instant>) -> Self {
        self.deadline = Some(at.into());
        self
    }

    /// What the job weighs against [`Limits::bytes`] until it ends.
    #[must_use]
    pub fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self
    }
}
