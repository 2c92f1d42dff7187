use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{StatusArgs, parsers};

/// `profile`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ProfileArgs {
    /// How long, at most 5 minutes.
    #[arg(long = "for", value_name = "TIME", default_value = "10s", value_parser = parsers::profile_time)]
    pub duration: Duration,
    /// Samples a second.
    #[arg(long, value_name = "N", default_value_t = 99, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rate: u32,
    /// Where the flame graph goes.
    #[arg(long, value_name = "FILE", default_value = "profile.svg")]
    pub svg: PathBuf,
    /// Where the stacks go, as other tools read them: `frame;frame;frame COUNT`.
    #[arg(long, value_name = "FILE")]
    pub folded: Option<PathBuf>,
    /// The node.
    #[command(flatten)]
    pub node: StatusArgs,
}

const EXAMPLES: &str = "\
Examples:
  stage-node profile                          ten seconds, into profile.svg
  stage-node profile --for 1m --folded stacks.txt --admin 127.0.0.1:7781

While no profile is taken it costs nothing. Time that handlers wait is not counted, only what they compute.";
