use std::io::Write;

use super::{Failure, Usage};
use crate::cli::TestArgs;
use crate::config::Config;
use crate::testing::{self, Plan, RunError};

/// Runs the tests of scripts and says how each ended.
///
/// # Errors
/// [`Failure::Failed`] if one fails, [`Failure::Usage`] if there are none or the configuration is wrong.
pub fn test(args: &TestArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let config = args.config.as_deref().map(Config::load).transpose()?;
    let plan = Plan { config, only: args.only.clone(), limit: args.limit };
    let summary = testing::run(&args.path, &plan, out).map_err(|error| match error {
        RunError::Find(error) => Failure::Usage(Usage::Other(error.to_string())),
        RunError::Output(error) => Failure::Output(error),
    })?;
    summary.write(out)?;
    match (summary.passed, summary.failed) {
        (0, 0) => Err(Failure::Failed("no test has that in its name".to_owned())),
        (_, 0) => Ok(()),
        (_, 1) => Err(Failure::Failed("1 test failed".to_owned())),
        (_, failed) => Err(Failure::Failed(format!("{failed} tests failed"))),
    }
}
