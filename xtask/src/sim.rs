//! `cargo xtask sim`: simulates overloaded meshes and draws the curves of the docs.

use anyhow::Result;

use crate::run;
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Seeds of each simulation, of which the median is shown
    #[arg(long, default_value_t = 5)]
    seeds: u64,
    /// Prints the figures only; leaves docs/images as it is
    #[arg(long)]
    no_images: bool,
    /// Studies to print: goodput, times, scenarios, calm, parts; all if none is named
    names: Vec<String>,
}

/// Runs the simulator of stage-route; whether it came to its end.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let workspace = Workspace::load()?;
    let arguments = ["run", "--release", "--package", "stage-route", "--example", "sim", "--"];
    let mut command = run::cargo(&workspace.root, &arguments);
    command.arg("--seeds").arg(options.seeds.to_string());
    if !options.no_images {
        command.arg("--images").arg(workspace.root.join("docs/images"));
    }
    run::passes(command.args(&options.names))
}
