//! What cargo and git know of this workspace: its members, their dependencies, its files.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::run;

/// The workspace as `cargo metadata --no-deps` tells it: works without a network.
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) members: Vec<Member>,
}

/// One package of the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// Its folder, relative to the root.
    pub(crate) folder: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) benches: Vec<Bench>,
    /// Whether it has a library, whose documentation may hold examples.
    pub(crate) has_library: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) optional: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    Build,
    Dev,
}

/// One bench target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bench {
    pub(crate) name: String,
    /// Features without which cargo does not build it.
    pub(crate) features: Vec<String>,
}

impl Workspace {
    pub(crate) fn load() -> Result<Self> {
        let here = std::env::current_dir()?;
        let arguments = ["metadata", "--no-deps", "--format-version", "1"];
        let json = run::output(&mut run::cargo(&here, &arguments))?;
        Self::from_metadata(&serde_json::from_slice(&json)?)
    }

    fn from_metadata(metadata: &Value) -> Result<Self> {
        let root = PathBuf::from(text(metadata, "workspace_root")?);
        let mut members = items(metadata, "packages")
            .map(|package| Member::from_metadata(package, &root))
            .collect::<Result<Vec<_>>>()?;
        members.sort_by(|a, b| a.folder.cmp(&b.folder));
        Ok(Self { target: PathBuf::from(text(metadata, "target_directory")?), root, members })
    }

    /// The files that are tracked or would be, relative to the root: what git does not ignore.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>> {
        let mut git = Command::new("git");
        git.current_dir(&self.root).args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ]);
        let list = String::from_utf8(run::output(&mut git)?)?;
        let mut files: Vec<_> = list
            .split_terminator('\0')
            .map(PathBuf::from)
            // A file that is deleted but not committed yet is still listed.
            .filter(|file| self.root.join(file).is_file())
            .collect();
        files.sort();
        files.dedup();
        Ok(files)
    }
}

impl Member {
    fn from_metadata(package: &Value, root: &Path) -> Result<Self> {
        let manifest = Path::new(text(package, "manifest_path")?);
        let folder = manifest.parent().unwrap_or(root);
        let benches = items(package, "targets")
            .filter(|target| items(target, "kind").any(|kind| kind == "bench"))
            .map(Bench::from_metadata)
            .collect::<Result<_>>()?;
        Ok(Self {
            name: text(package, "name")?.to_owned(),
            folder: folder.strip_prefix(root).unwrap_or(folder).to_owned(),
            dependencies: items(package, "dependencies")
                .map(Dependency::from_metadata)
                .collect::<Result<_>>()?,
            benches,
            has_library: items(package, "targets")
                .any(|target| items(target, "kind").any(|kind| kind == "lib")),
        })
    }
}

impl Dependency {
    fn from_metadata(dependency: &Value) -> Result<Self> {
        let kind = match dependency["kind"].as_str() {
            None => Kind::Normal,
            Some("build") => Kind::Build,
            Some(_) => Kind::Dev,
        };
        Ok(Self {
            name: text(dependency, "name")?.to_owned(),
            kind,
            optional: dependency["optional"].as_bool().unwrap_or(false),
        })
    }
}

impl Bench {
    fn from_metadata(target: &Value) -> Result<Self> {
        let features = items(target, "required-features");
        Ok(Self {
            name: text(target, "name")?.to_owned(),
            features: features.filter_map(Value::as_str).map(str::to_owned).collect(),
        })
    }
}

/// The text under a key; an error that names the key if it is not there.
pub(crate) fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key].as_str().with_context(|| format!("no text under \"{key}\""))
}

/// The items of the list under a key; none if it is not there.
pub(crate) fn items<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn members_are_read_with_their_dependencies_and_benches() {
        let metadata = json!({
            "workspace_root": "/w",
            "target_directory": "/w/target",
            "packages": [{
                "name": "stage-pail",
                "manifest_path": "/w/crates/stage-pail/Cargo.toml",
                "dependencies": [
                    { "name": "bytes", "kind": null, "optional": true },
                    { "name": "criterion", "kind": "dev", "optional": false }
                ],
                "targets": [
                    { "name": "stage_pail", "kind": ["lib"] },
                    { "name": "fill", "kind": ["bench"], "required-features": ["json"] }
                ]
            }]
        });

        let workspace = Workspace::from_metadata(&metadata).unwrap();

        let dependency =
            |name: &str, kind, optional| Dependency { name: name.into(), kind, optional };
        let expected = Member {
            name: "stage-pail".into(),
            folder: "crates/stage-pail".into(),
            dependencies: vec![
                dependency("bytes", Kind::Normal, true),
                dependency("criterion", Kind::Dev, false),
            ],
            benches: vec![Bench { name: "fill".into(), features: vec!["json".into()] }],
            has_library: true,
        };
        assert_eq!(workspace.members, [expected]);
    }

    #[test]
    fn metadata_without_a_root_is_an_error_that_says_so() {
        let error = Workspace::from_metadata(&json!({})).err().unwrap();
        assert!(error.to_string().contains("workspace_root"));
    }
}
