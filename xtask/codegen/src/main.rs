//! `cargo xtask codegen` ends here: writes the generated code, or checks it.
#![allow(clippy::print_stdout, reason = "a command-line program answers on stdout")]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};

fn main() -> Result<ExitCode> {
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
    Ok(if only_check { check(&workspace)? } else { write(&workspace)? })
}

fn check(workspace: &std::path::Path) -> Result<ExitCode> {
    let differences = xtask_codegen::check(workspace)?;
    for difference in &differences {
        println!("{difference}");
    }
    if differences.is_empty() {
        println!("The generated code is what proto/ says.");
        return Ok(ExitCode::SUCCESS);
    }
    println!("Run `cargo xtask codegen` and commit what it writes.");
    Ok(ExitCode::FAILURE)
}

fn write(workspace: &std::path::Path) -> Result<ExitCode> {
    let changed = xtask_codegen::write(workspace)?;
    for difference in &changed {
        println!("{difference}: mended");
    }
    println!("{} files changed.", changed.len());
    Ok(ExitCode::SUCCESS)
}
