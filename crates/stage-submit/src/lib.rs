#![doc = include_str!("../README.md")]
//!
//! # The model
//!
//! A key with unended jobs has a *lane*: its queue, its pausing jobs, and one *turn*, the right
//! to run its jobs. Whoever holds the turn runs one job, then asks for the next one or gives the
//! turn back. Giving the turn back and forgetting the lane is one step, and so is arriving; that is why
//! an idle key can cost nothing and yet no job is lost that arrives in that instant.
//!
//! Lanes are plain data that decide; they are spread over shards, each under a lock that is held
//! for some tens of nanoseconds and never while a job's code runs. Around them are two drivers: the
//! [`Submitter`], where a turn is held by a tokio task, and the [`Scheduler`], where a thread of
//! yours holds it. What all keys share, the bounds on everything and the closed door, is a gate
//! that counts who enters and who leaves.

mod alarm;
mod context;
mod direct;
mod error;
mod free;
mod gate;
mod handle;
mod histogram;
mod job;
mod key;
mod lanes;
mod limits;
mod release;
mod rt;
mod scheduler;
mod shard;
mod stats;
mod submitter;
mod sync;
mod tally;
mod turn;
mod waits;

pub use context::JobContext;
pub use error::{Deadlock, JobError, Scope, SubmitError};
pub use handle::{Canceller, Handle};
pub use histogram::Histogram;
pub use job::Repeat;
pub use key::Key;
pub use limits::{Limits, Options};
pub use scheduler::{Cancel, End, Grant, JobId, Run, Scheduler};
pub use stats::{Ended, KeyStats, Stats};
pub use submitter::{Close, Submitter};
pub use waits::{WaitGraph, WaitId, Waiter};
