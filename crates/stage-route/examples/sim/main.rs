//! Simulates meshes under overload, ours beside rivals: `cargo xtask sim` draws what it finds.
//!
//! Nothing here is random but by its seed, and nothing waits: an hour of a mesh takes seconds.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its output is its result")]

mod plot;
mod policy;
mod report;
mod rivals;
mod scenario;
mod scenarios;
mod study;
mod world;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (mut seeds, mut images, mut studies) = (5, None, vec![]);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--seeds" => seeds = value()?.parse().context("--seeds needs a number")?,
            "--images" => images = Some(PathBuf::from(value()?)),
            option if option.starts_with('-') => {
                bail!("unknown option {option}; there are --seeds N and --images FOLDER");
            }
            study => studies.push(study.to_owned()),
        }
    }
    study::run(seeds, images.as_deref(), &studies)
}
