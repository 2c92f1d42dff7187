//! `cargo xtask test`: the one command that runs every test.

use std::sync::Mutex;

use anyhow::Result;

use crate::workspace::{Member, Workspace};
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

    let mut unit = run::cargo(&workspace.root, &["nextest", "run", "--no-fail-fast"]);
    unit.args(selection(&options.package)).args(&options.nextest);
    let mut passed = run::passes_watched(&mut unit, &inspect)?;

    if !options.nextest.is_empty() {
        eprintln!(
            "Examples in the documentation are not run: the arguments are for nextest alone."
        );
    } else if let Some(packages) = documented(&options.package, &workspace.members) {
        let mut doc = run::cargo(&workspace.root, &["test", "--doc", "--no-fail-fast"]);
        passed &= run::passes_watched(doc.args(selection(&packages)), &inspect)?;
    }

    let counts = counts.into_inner().unwrap_or_default();
    println!("{counts}");
    Ok(passed)
}

fn selection(packages: &[String]) -> Vec<String> {
    if packages.is_empty() {
        return vec!["--workspace".to_owned()];
    }
    packages.iter().flat_map(|name| ["--package".to_owned(), name.clone()]).collect()
}

/// The packages whose documentation can hold examples; none if they all are programs, for which
/// cargo would fail.
fn documented(packages: &[String], members: &[Member]) -> Option<Vec<String>> {
    let is_program =
        |name: &String| members.iter().any(|member| member.name == *name && !member.has_library);
    let documented: Vec<_> = packages.iter().filter(|name| !is_program(name)).cloned().collect();
    (packages.is_empty() || !documented.is_empty()).then_some(documented)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, has_library: bool) -> Member {
        Member {
            name: name.into(),
            folder: name.into(),
            dependencies: Vec::new(),
            benches: Vec::new(),
            has_library,
        }
    }

    #[test]
    fn examples_are_looked_for_in_libraries_only() {
        let members = [member("pail", true), member("pump", false)];
        let documented = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            documented(&names, &members)
        };
        assert_eq!(documented(&[]), Some(vec![]));
        assert_eq!(documented(&["pail", "pump"]), Some(vec!["pail".to_owned()]));
        assert_eq!(documented(&["pump"]), None);
    }

    #[test]
    fn without_packages_the_whole_workspace_is_meant() {
        assert_eq!(selection(&[]), ["--workspace"]);
        assert_eq!(selection(&["pail".to_owned()]), ["--package", "pail"]);
    }
}
