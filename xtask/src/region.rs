//! `cargo xtask region`: overloads five real nodes on this machine and prints how they take it.

use anyhow::Result;

use crate::run;
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Runs of each case, of which the median is shown
    #[arg(long, default_value_t = 5)]
    seeds: u64,
    /// What nodes do about overload where a case compares that: stage, none, literal, ewma, dagor, codel or gradient2; all if none is named
    #[arg(long = "policy")]
    policies: Vec<String>,
    /// Cases to run; all if none is named
    names: Vec<String>,
}

/// Runs the cases; whether they came to their end.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let workspace = Workspace::load()?;
    let bench = ["bench", "--package", "stage-node", "--bench", "region", "--", "cases"];
    let mut command = run::cargo(&workspace.root, &bench);
    command.arg("--seeds").arg(options.seeds.to_string());
    for policy in &options.policies {
        command.args(["--policy", policy]);
    }
    run::passes(command.args(&options.names))
}
