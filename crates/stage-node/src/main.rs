//! The `stage-node` command. What it does is in the library; here are the streams and exit codes.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use stage_node::cli::{Cli, Command};
use stage_node::commands::{self, Failure};
use stage_node::config::Palette;

/// Messages are made on one thread and freed on another, which the system's allocator is slow at:
/// with it a node does about half as much.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Not locked: a running node's scripts print there as well.
    let mut out = io::stdout();
    let done = execute(Cli::parse().command, &mut out);
    match done.and_then(|()| Ok(out.flush()?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            let palette = if colour { Palette::Colour } else { Palette::Plain };
            // There is nobody left to tell if standard error is closed.
            let _ = io::stderr().write_all(failure.report(palette).as_bytes());
            ExitCode::from(failure.exit_code())
        }
    }
}

fn execute(command: Command, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        Command::Run(args) => commands::run(&args),
        Command::Check(args) => commands::check(&args, out),
        Command::Bench(command) => commands::bench(&command, out),
        Command::Test(args) => commands::test(&args, out),
        Command::Cert(command) => commands::cert(&command, out),
        Command::Schema => commands::schema(out),
        Command::Completions(args) => commands::completions(&args, out),
        Command::Man(args) => commands::man(&args, out),
        Command::Signal(args) => commands::signal(&args, out),
        Command::Route(args) => commands::route(&args, out),
        Command::Status(args) => commands::status(&args, out),
        Command::Profile(args) => commands::profile(&args, out, &mut io::stderr()),
        Command::Tickets(args) => commands::tickets(&args, out),
    }
}
