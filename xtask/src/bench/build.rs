//! Building the bench targets: all with one command, before the first is measured.
//!
//! Cargo builds a crate anew for each set of features it is asked for. With one command there is one set,
//! so nothing is built twice, and nothing is built between two measurements.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::run;
use crate::workspace::{Bench, Member, items, text};

/// A bench target that can be started.
pub(crate) struct Built<'a> {
    pub(crate) member: &'a Member,
    pub(crate) bench: &'a Bench,
    /// The folder of its package.
    pub(crate) folder: PathBuf,
    pub(crate) executable: PathBuf,
}

/// Builds the targets.
///
/// # Errors
/// One that cannot be built.
pub(crate) fn build<'a>(
    root: &Path,
    targets: &[(&'a Member, &'a Bench)],
) -> Result<Vec<Built<'a>>> {
    let messages = run::output(&mut command(root, targets))?;
    let messages = String::from_utf8(messages).context("cargo's messages are no text")?;
    let messages: Vec<Value> =
        messages.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let built = |&(member, bench): &(&'a Member, &'a Bench)| {
        let folder = root.join(&member.folder);
        let executable = executable(&messages, &folder, &bench.name)
            .with_context(|| format!("cargo did not build {} of {}", bench.name, member.name))?;
        Ok(Built { member, bench, folder, executable })
    };
    targets.iter().map(built).collect()
}

fn command(root: &Path, targets: &[(&Member, &Bench)]) -> Command {
    let mut command =
        run::cargo(root, &["bench", "--no-run", "--message-format=json-render-diagnostics"]);
    for (member, bench) in targets {
        command.args(["--package", &member.name, "--bench", &bench.name]);
        for feature in &bench.features {
            command.arg("--features").arg(format!("{}/{feature}", member.name));
        }
    }
    command
}

/// The program of a bench target, by what cargo says it built.
fn executable(messages: &[Value], folder: &Path, name: &str) -> Option<PathBuf> {
    let is_it = |message: &&Value| {
        let manifest = text(message, "manifest_path").ok();
        manifest.is_some_and(|manifest| Path::new(manifest) == folder.join("Cargo.toml"))
            && text(&message["target"], "name").is_ok_and(|target| target == name)
            && items(&message["target"], "kind").any(|kind| kind == "bench")
    };
    let message = messages.iter().find(is_it)?;
    text(message, "executable").ok().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_targets_are_built_by_one_command_with_the_features_of_all() {
        let member = |name: &str| Member {
            name: name.into(),
            folder: name.into(),
            dependencies: Vec::new(),
            benches: Vec::new(),
            has_library: true,
        };
        let (pail, well) = (member("pail"), member("well"));
        let fill = Bench { name: "fill".into(), features: vec!["json".into()] };
        let draw = Bench { name: "draw".into(), features: Vec::new() };

        let command = command(Path::new("/"), &[(&pail, &fill), (&well, &draw)]);

        let shown = run::shown(&command);
        assert!(
            shown.ends_with(
                "--package pail --bench fill --features pail/json --package well --bench draw"
            ),
            "{shown}"
        );
    }

    #[test]
    fn a_program_is_found_by_its_package_and_its_name() {
        let artifact = |package: &str, kind: &str, executable: Option<&str>| {
            json!({
                "reason": "compiler-artifact",
                "manifest_path": format!("/w/{package}/Cargo.toml"),
                "target": { "name": "fill", "kind": [kind] },
                "executable": executable,
            })
        };
        let messages = [
            artifact("pail", "lib", None),
            artifact("well", "bench", Some("/w/target/fill-1")),
            artifact("pail", "bench", Some("/w/target/fill-2")),
            json!({ "reason": "build-finished", "success": true }),
        ];

        let found = |folder: &str, name| executable(&messages, Path::new(folder), name);
        assert_eq!(found("/w/pail", "fill"), Some(PathBuf::from("/w/target/fill-2")));
        assert_eq!(found("/w/pail", "pour"), None);
        assert_eq!(found("/w/rope", "fill"), None);
    }
}
