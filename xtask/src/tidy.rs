//! `cargo xtask tidy`: rules of this repository that no compiler knows.
//!
//! Every finding of a run is printed, each with its place and what would mend it.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::workspace::Workspace;

mod crates;
mod layers;
mod sources;
mod translations;

/// What breaks a rule, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: PathBuf,
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: impl AsRef<Path>, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.as_ref().to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.message)
    }
}

/// Prints every finding; whether there is none.
pub(crate) fn run() -> Result<bool> {
    let workspace = Workspace::load()?;
    let files = workspace.files()?;

    let mut findings = layers::check(&workspace)?;
    findings.extend(crates::check(&workspace));
    findings.extend(sources::check(&workspace.root, &files));
    findings.extend(translations::check(&files));
    findings.sort();

    findings.iter().for_each(|finding| println!("{finding}"));
    let (crates, files) = (workspace.members.len(), files.len());
    println!("tidy: {crates} crates, {files} files, {} findings", findings.len());
    Ok(findings.is_empty())
}
