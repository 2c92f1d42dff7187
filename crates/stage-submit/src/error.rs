//! What can go wrong when a job is submitted, and how an accepted job can end.

use std::fmt;

use crate::key::Key;

/// Which bound a refused job met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// [`Limits::per_key`](crate::Limits::per_key).
    Key,
    /// [`Limits::total`](crate::Limits::total).
    Total,
    /// [`Limits::bytes`](crate::Limits::bytes).
    Bytes,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "jobs of the key",
            Self::Total => "jobs of all keys",
            Self::Bytes => "bytes of all jobs",
        })
    }
}

/// Why a job was not accepted. The job was dropped and has not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// A bound is reached; said at once, nothing waited.
    #[error("queue full: {depth} of {limit} {scope}; submit again later or raise the limit")]
    QueueFull {
        /// Which bound.
        scope: Scope,
        /// What was found there: jobs, or bytes for [`Scope::Bytes`].
        depth: u64,
        /// The bound.
        limit: u64,
    },
    /// The deadline had passed already.
    #[error("the deadline had passed when the job was submitted")]
    DeadlinePassed,
    /// The scheduler was closed.
    #[error("the scheduler is closed; no job is accepted any more")]
    Closed,
}

/// Why an accepted job has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// The job panicked. Its key and all other jobs go on.
    #[error("the job panicked: {message}")]
    Panicked {
        /// The panic's message.
        message: String,
    },
    /// Cancelled by its handle or by its key, or its runtime ended.
    #[error("the job was cancelled")]
    Cancelled,
    /// The deadline passed while it waited; it never started.
    #[error("the job's deadline passed before its turn came; it did not start")]
    Expired,
    /// The scheduler closed before the job was done.
    #[error("the scheduler closed before the job was done")]
    Closed,
    /// The job that waited for this one holds a key which this one needs.
    #[error(transparent)]
    Deadlock(#[from] Deadlock),
}

/// A wait that could never end, because it closes a circle of jobs that wait for each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("waiting would never end: {}; submit without waiting, or use another key", Chain(chain))]
pub struct Deadlock {
    /// The keys in the order of waiting; the first and the last are the same. Key 0 stands for
    /// a job without a limit that is part of the circle.
    pub chain: Vec<Key>,
}

struct Chain<'a>(&'a [Key]);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, key) in self.0.iter().enumerate() {
            let sep = if index == 0 { "" } else { " waits for " };
            write!(f, "{sep}key {key}")?;
        }
        Ok(())
    }
}
