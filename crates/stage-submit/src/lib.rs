//! A keyed scheduler: one job at a time per key, everything else in parallel

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
