use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::parsers;

/// `test`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TestArgs {
    /// The folder in which every file that ends in _test.lua is run, those in folders below too; or one file.
    #[arg(default_value = ".")]
    pub path: PathBuf,
    /// A configuration whose stages run beside each test, with its tickets, databases and limits.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Only tests with this in their name.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub only: String,
    /// How long one test may really take.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parsers::duration)]
    pub limit: Duration,
}

const EXAMPLES: &str = "\
Examples:
  stage-node test                             all tests below this folder
  stage-node test tests --only login
  stage-node test --config stage.json         with the stages of a configuration

A test waits in virtual time: sleep(3600) takes none. docs/lua.md tells how to write one.";
