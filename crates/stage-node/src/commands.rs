//! What the commands do.
//!
//! Each writes to the writer it is given and returns how it failed; `main` turns that into an exit
//! code. Nothing here prints by itself, so that a closed pipe is an error like any other.

mod bench;
mod cert;
mod check;
mod describe;
mod failure;
mod profile;
mod route;
mod run;
mod signal;
mod status;
mod test;
mod tickets;

use std::future::Future;

pub use bench::bench;
pub use cert::cert;
pub use check::check;
pub use describe::{completions, man, schema};
pub use failure::{Failure, Usage};
pub use profile::profile;
pub use route::route;
pub use run::run;
pub use signal::signal;
pub use status::status;
pub use test::test;
pub use tickets::tickets;

/// Runs what a command waits for.
fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(error.to_string()))?;
    Ok(runtime.block_on(work))
}
