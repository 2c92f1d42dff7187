// The driver's own sources, mounted on the explorer's locks, atomics and tasks. Included by
// each test that explores schedules; `release` is the including test's choice.

#[path = "../../src/alarm.rs"]
mod alarm;
#[path = "../../src/context.rs"]
mod context;
#[path = "../../src/direct.rs"]
mod direct;
#[path = "../../src/error.rs"]
mod error;
#[path = "../../src/free.rs"]
mod free;
#[path = "../../src/gate.rs"]
mod gate;
#[path = "../../src/handle.rs"]
mod handle;
#[path = "../../src/histogram.rs"]
mod histogram;
#[path = "../../src/job.rs"]
mod job;
#[path = "../../src/key.rs"]
mod key;
#[path = "../../src/lanes.rs"]
mod lanes;
#[path = "../../src/limits.rs"]
mod limits;
#[path = "../../src/shard.rs"]
mod shard;
#[path = "../../src/stats.rs"]
mod stats;
#[path = "../../src/submitter.rs"]
mod submitter;
#[path = "../../src/tally.rs"]
mod tally;
#[path = "../../src/turn.rs"]
mod turn;
#[path = "../../src/waits.rs"]
mod waits;

use error::{JobError, SubmitError};
use handle::{Canceller, Handle};
use job::Repeat;
use key::Key;
use limits::{Limits, Options};
use submitter::{Close, Submitter};
