//! `stage-node test`: runs the tests of scripts in virtual time.
//!
//! Each test gets a node of its own, without links and ports, all on one thread whose clock is paused: when nothing
//! has anything to do, the clock goes to the next timer at once.

mod bed;
mod files;
mod report;

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use stage_lua::Script;

use crate::config::Config;
use bed::Bed;

pub use files::FindError;
pub use report::Summary;

/// What is to be tested.
#[derive(Debug)]
pub struct Plan {
    /// Whose stages run beside each test; without one, the test's own stage alone.
    pub config: Option<Config>,
    /// A text that is in the name of each test to be run.
    pub only: String,
    /// How long one test may really take.
    pub limit: Duration,
}

/// Runs the tests of a file, or of all files of a folder that end in `_test.lua`, and writes how each ended.
///
/// # Errors
/// If there are none, or the output cannot be written.
pub fn run(path: &Path, plan: &Plan, out: &mut dyn Write) -> Result<Summary, RunError> {
    let begun = Instant::now();
    let mut summary = Summary::default();
    for file in files::find(path)? {
        report::file(out, &file)?;
        summary.files += 1;
        run_file(&file, plan, &mut summary, out)?;
    }
    summary.took = begun.elapsed();
    Ok(summary)
}

/// A run of tests that did not come to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// There are no tests to run.
    #[error(transparent)]
    Find(#[from] FindError),
    /// The output could not be written.
    #[error(transparent)]
    Output(#[from] io::Error),
}

fn run_file(
    file: &Path,
    plan: &Plan,
    summary: &mut Summary,
    out: &mut dyn Write,
) -> io::Result<()> {
    let bed = match Script::read(file) {
        Ok(script) => Bed { script, config: plan.config.as_ref(), limit: plan.limit },
        Err(error) => return summary.fails(out, "the file", &error.to_string(), ""),
    };
    let names = match bed.names() {
        Ok(names) => names,
        Err(failed) => return summary.fails(out, "the file", &failed.reason, &failed.printed),
    };
    if names.is_empty() {
        return summary.fails(
            out,
            "the file",
            "it has no test: test(\"name\", function() ... end)",
            "",
        );
    }
    for name in names.iter().filter(|name| name.contains(&plan.only)) {
        match bed.run(name) {
            Ok(passed) => summary.passes(out, name, passed)?,
            Err(failed) => summary.fails(out, name, &failed.reason, &failed.printed)?,
        }
    }
    Ok(())
}
