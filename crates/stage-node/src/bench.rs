//! `stage-node bench`: how much a node does, and how long it takes.
//!
//! With a rate, calls begin by a plan, whether or not those before them are done, and each is timed from when it was to
//! begin: a node that stalls is not spared the calls that wait meanwhile (Tene, "How NOT to Measure Latency"). Without
//! one, as many as are allowed are always under way, and each is timed from when it began. Calls that ran out of time, were
//! given up at the end or could not begin count among the slow ones with the time that they have taken till then. What is
//! done in a second leaves out the calls that ended after the load.

mod course;
mod load;
mod report;
mod tally;
mod target;

use std::io::{self, Write};

pub use load::Load;
pub use target::{Credentials, Place, Work};

/// What a node is loaded with, and where it is.
#[derive(Debug)]
pub struct Plan {
    /// What each call is.
    pub work: Work,
    /// How many and how often.
    pub load: Load,
    /// The node.
    pub place: Place,
    /// Whether the result is written as JSON.
    pub json: bool,
}

/// The script of the stage `bench`, for nodes that are to be loaded from outside.
pub const SCRIPT: &str = include_str!("bench/bench.lua");

/// Loads a node and writes what came of it; the progress goes to `progress`, a line a second.
///
/// # Errors
/// If the node cannot be reached, does not carry the stage `bench`, or no call succeeds.
pub fn run(plan: &Plan, out: &mut dyn Write, progress: &mut dyn Write) -> Result<(), BenchError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| BenchError::Failed(format!("no threads for the load: {error}")))?;
    let tally = runtime.block_on(async {
        let target = target::open(plan).await?;
        target.try_once().await?;
        load::run(&target, plan.load, progress).await
    });
    runtime.shutdown_background();
    let tally = tally?;
    if plan.json {
        report::json(plan, &tally, out)?;
    } else {
        report::text(plan, &tally, out)?;
    }
    if tally.done() == 0 {
        return Err(BenchError::Failed("no call succeeded".to_owned()));
    }
    Ok(())
}

/// A load that came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// What stood in the way.
    #[error("{0}")]
    Failed(String),
    /// The files for a node with certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] stage_signal::TlsError),
    /// The output could not be written.
    #[error(transparent)]
    Output(#[from] io::Error),
}
