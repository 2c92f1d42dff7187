//! The project's own chores: `cargo xtask --help` lists them.
//!
//! One file per chore. Nothing here depends on the product's crates, and little on anything else:
//! a cold machine compiles this program before it can run the first test.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program for people: what it prints is its result"
)]

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod bench;
mod ci;
mod codegen;
mod licenses;
mod memory;
mod needs;
mod region;
mod run;
mod scripts;
mod sim;
mod test;
mod tidy;
mod workspace;

/// The project's own chores
#[derive(Parser)]
#[command(bin_name = "cargo xtask", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Installs or names what is missing, then runs every test of the workspace
    Test(test::Options),
    /// Runs what a change must pass: format, tidy, licenses, codegen, clippy, docs, scripts, tests
    Ci(ci::Options),
    /// Writes the code of stage-proto from the definitions in proto/
    Codegen(codegen::Options),
    /// Checks what the compiler does not: layers, READMEs, file sizes, translations
    Tidy,
    /// Checks the licenses and bans of deny.toml against the dependencies
    Licenses,
    /// Checks the Lua of the examples against the annotations for editors
    Scripts,
    /// Runs what tests unsafe code under Valgrind
    Memory,
    /// Runs the benchmarks, ours beside their peers, and prints the ratios
    Bench(bench::Options),
    /// Simulates overloaded meshes, prints the figures and draws the curves of the docs
    Sim(sim::Options),
    /// Overloads five real nodes on this machine, for an hour unless cases are named, and prints the figures
    Region(region::Options),
}

fn main() -> ExitCode {
    match carry_out(&Cli::parse().chore) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the chore found everything in order.
fn carry_out(chore: &Chore) -> Result<bool> {
    match chore {
        Chore::Test(options) => test::run(options),
        Chore::Ci(options) => ci::run(options),
        Chore::Codegen(options) => codegen::run(options),
        Chore::Tidy => tidy::run(),
        Chore::Licenses => licenses::run(),
        Chore::Scripts => scripts::run(),
        Chore::Memory => memory::run(),
        Chore::Bench(options) => bench::run(options),
        Chore::Sim(options) => sim::run(options),
        Chore::Region(options) => region::run(options),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
