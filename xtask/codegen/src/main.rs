//! `cargo xtask codegen` ends here: writes the generated code, or checks it.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program for people: what it prints is its result"
)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the generated code is, or now is, what the definitions say.
fn run() -> Result<bool> {
    let mut workspace = None;
    let mut only_check = false;
    for argument in std::env::args_os().skip(1) {
        if argument == "--check" {
            only_check = true;
        } else {
            workspace = Some(PathBuf::from(argument));
        }
    }
    let Some(workspace) = workspace else {
        bail!("usage: xtask-codegen [--check] WORKSPACE");
    };
    if only_check { check(&workspace) } else { write(&workspace) }
}

fn check(workspace: &Path) -> Result<bool> {
    let differences = xtask_codegen::check(workspace)?;
    for difference in &differences {
        println!("{difference}");
    }
    if differences.is_empty() {
        println!("The generated code is what proto/ says.");
        return Ok(true);
    }
    println!("Run `cargo xtask codegen` and commit what it writes.");
    Ok(false)
}

fn write(workspace: &Path) -> Result<bool> {
    let changed = xtask_codegen::write(workspace)?;
    for difference in &changed {
        println!("{difference}: mended");
    }
    println!("{} files changed.", changed.len());
    Ok(true)
}
