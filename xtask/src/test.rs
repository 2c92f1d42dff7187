//! `cargo xtask test`: the one command that runs every test.

use std::sync::Mutex;

use anyhow::Result;

use crate::workspace::Workspace;
use crate::{needs, run};

mod counts;

#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Tests only this package; may be repeated
    #[arg(short, long, value_name = "NAME")]
    package: Vec<String>,
    /// Arguments for `cargo nextest run`: a part of a test's name, `--release`, ...
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    nextest: Vec<String>,
}

/// Runs the tests; whether all passed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    needs::meet()?;
    let workspace = Workspace::load()?;
    let counts = Mutex::new(counts::Counts::default());
    let inspect = |line: &str| {
        if let Ok(mut counts) = counts.lock() {
            counts.add_line(line);
        }
    };

    let selection = selection(options);
    let mut unit = run::cargo(&workspace.root, &["nextest", "run", "--no-fail-fast"]);
    unit.args(&selection).args(&options.nextest);
    let mut passed = run::passes_watched(&mut unit, &inspect)?;

    if options.nextest.is_empty() {
        let mut doc = run::cargo(&workspace.root, &["test", "--doc", "--no-fail-fast"]);
        passed &= run::passes_watched(doc.args(&selection), &inspect)?;
    } else {
        eprintln!(
            "Examples in the documentation are not run: the arguments are for nextest alone."
        );
    }

    let counts = counts.into_inner().unwrap_or_default();
    println!("{counts}");
    Ok(passed)
}

fn selection(options: &Options) -> Vec<String> {
    if options.package.is_empty() {
        return vec!["--workspace".to_owned()];
    }
    options.package.iter().flat_map(|name| ["--package".to_owned(), name.clone()]).collect()
}
