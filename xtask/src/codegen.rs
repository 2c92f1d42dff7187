//! `cargo xtask codegen`: starts the generator, which is a package of its own (xtask/codegen).

use anyhow::Result;

use crate::run;
use crate::workspace::Workspace;

#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Writes nothing; fails if the committed code differs from the definitions
    #[arg(long)]
    pub(crate) check: bool,
}

/// Writes or checks the generated code; whether it is what the definitions say.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let workspace = Workspace::load()?;
    let mut command = run::cargo(&workspace.root, &["run", "--package", "xtask-codegen", "--"]);
    if options.check {
        command.arg("--check");
    }
    run::passes(command.arg(&workspace.root))
}
