use std::io::{self, Write};

use super::{Failure, Usage};
use crate::bench::{self, BenchError, SCRIPT};
use crate::cli::BenchCommand;

/// Loads a node and says how much it does.
///
/// # Errors
/// [`Failure::Failed`] if the node cannot be reached or does nothing of it, [`Failure::Usage`] if its certificates
/// cannot be used.
pub fn bench(command: &BenchCommand, out: &mut dyn Write) -> Result<(), Failure> {
    match command.plan() {
        Some(plan) => bench::run(&plan, out, &mut io::stderr()).map_err(|error| match error {
            BenchError::Output(error) => Failure::Output(error),
            BenchError::Tls(error) => Failure::Usage(Usage::Other(error.to_string())),
            failed => Failure::Failed(failed.to_string()),
        }),
        None => Ok(out.write_all(SCRIPT.as_bytes())?),
    }
}
