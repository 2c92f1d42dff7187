//! What the commands do that need no running node.
//!
//! Each writes to the writer it is given and returns how it failed; `main` turns that into an exit
//! code. Nothing here prints by itself, so that a closed pipe is an error like any other.

mod check;
mod describe;
mod failure;

pub use check::{Compile, check};
pub use describe::{completions, man, schema};
pub use failure::{Failure, Usage};
