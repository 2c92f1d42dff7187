//! What goes between a worker and the scheduler.

use std::time::{Duration, Instant};

use crate::key::{Hashed, Key};
use crate::lanes::Id;

/// Names a job of a [`Scheduler`](crate::Scheduler).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId {
    pub(super) key: Key,
    pub(super) id: Id,
}

impl JobId {
    /// The key that the job was submitted under.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }
}

/// A job to run, and the receipt to give back afterwards.
#[derive(Debug)]
#[must_use = "the key stays busy until the receipt goes to `Scheduler::finish`"]
pub struct Grant<J> {
    /// What to run.
    pub job: J,
    /// How long it waited.
    pub waited: Duration,
    /// To be given back when it has run.
    pub run: Run,
}

/// The receipt of a running job. It keeps the key busy until it goes to [`Scheduler::finish`](crate::Scheduler::finish).
#[derive(Debug)]
#[must_use = "the key stays busy until this goes to `Scheduler::finish`"]
pub struct Run {
    pub(super) at: Hashed,
    pub(super) id: Id,
    pub(super) bytes: u64,
    pub(super) started: Instant,
    pub(super) turn_began: Instant,
    pub(super) turn_jobs: u32,
}

impl Run {
    /// The name of the job that runs.
    #[must_use]
    pub fn id(&self) -> JobId {
        JobId { key: self.at.key.clone(), id: self.id }
    }
}

/// How a run ended.
#[derive(Debug)]
pub enum End<J> {
    /// The job is done, well or not.
    Done,
    /// Run this again after the pause (it is dropped if it was cancelled or the scheduler closed), as
    /// [`Submitter::submit_repeating`](crate::Submitter::submit_repeating) describes.
    Again(J, Duration),
}

/// What came of [`Scheduler::cancel`](crate::Scheduler::cancel).
#[derive(Debug, PartialEq, Eq)]
pub enum Cancel<J> {
    /// It waited or paused; here it is.
    Removed(J),
    /// It runs: its worker finds out by [`Scheduler::is_cancelled`](crate::Scheduler::is_cancelled). It will not repeat.
    Running,
    /// It has ended.
    Gone,
}
