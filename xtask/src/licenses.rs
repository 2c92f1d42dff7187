//! `cargo xtask licenses`: the license list and the bans of deny.toml, checked against everything
//! in Cargo.lock.
//!
//! The file is cargo-deny's, and who has that program gets more from it (advisories, duplicates).
//! This check needs nothing beyond cargo, so that no machine goes without it.

use std::fs;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::run;
use crate::workspace::{Workspace, items, text};

mod expression;

/// Prints every package that breaks a rule; whether there is none.
pub(crate) fn run() -> Result<bool> {
    let root = Workspace::load()?.root;
    let policy = Policy::parse(&fs::read_to_string(root.join("deny.toml"))?)?;
    let arguments = ["metadata", "--format-version", "1", "--locked"];
    let metadata: Value =
        serde_json::from_slice(&run::output(&mut run::cargo(&root, &arguments))?)?;

    let mut count = 0;
    let mut findings = Vec::new();
    for package in items(&metadata, "packages") {
        count += 1;
        findings.extend(policy.finding(package)?);
    }
    findings.iter().for_each(|finding| println!("{finding}"));
    println!("licenses: {count} packages, {} findings", findings.len());
    Ok(findings.is_empty())
}

/// What deny.toml says, as far as it is checked here.
struct Policy {
    allowed: Vec<String>,
    banned: Vec<String>,
}

impl Policy {
    fn parse(toml: &str) -> Result<Self> {
        let list = |section, key| {
            strings(toml, section, key)
                .with_context(|| format!("deny.toml has no list `{key}` under [{section}]"))
        };
        let policy = Self { allowed: list("licenses", "allow")?, banned: list("bans", "deny")? };
        if policy.allowed.is_empty() {
            bail!("deny.toml allows no license at all");
        }
        Ok(policy)
    }

    fn finding(&self, package: &Value) -> Result<Option<String>> {
        let name = text(package, "name")?;
        let version = text(package, "version")?;
        if self.banned.iter().any(|banned| banned == name) {
            return Ok(Some(format!("{name} {version}: banned by deny.toml")));
        }
        let Some(license) = package["license"].as_str() else {
            return Ok(Some(format!("{name} {version}: says no license in its Cargo.toml")));
        };
        let allows = |id: &str| self.allowed.iter().any(|allowed| allowed == id);
        let is_allowed = expression::holds(license, &allows)
            .with_context(|| format!("the license of {name} {version}"))?;
        Ok((!is_allowed)
            .then(|| format!("{name} {version}: `{license}` is not allowed by deny.toml")))
    }
}

/// The strings of `key = [ ... ]` under `[section]`; the rest of the file's TOML is not understood.
fn strings(toml: &str, section: &str, key: &str) -> Option<Vec<String>> {
    let mut lines = toml.lines().map(without_comment);
    lines.find(|line| line.trim() == format!("[{section}]"))?;
    let mut lines = lines.take_while(|line| !line.trim_start().starts_with('['));
    let first = lines.find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == key).then_some(value)
    })?;
    let mut list = String::from(first);
    while !list.contains(']') {
        list.push_str(lines.next()?);
    }
    // Every second piece between quotes is inside them.
    Some(list.split('"').skip(1).step_by(2).map(str::to_owned).collect())
}

fn without_comment(line: &str) -> &str {
    line.split_once('#').map_or(line, |(before, _)| before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TOML: &str = r#"
[advisories]
ignore = []

[licenses]
allow = [
    "MIT", # ours
    "Apache-2.0",
]

[bans]
deny = ["openssl"]
"#;

    #[test]
    fn lists_are_read_from_their_own_section() {
        let policy = Policy::parse(TOML).unwrap();
        assert_eq!(policy.allowed, ["MIT", "Apache-2.0"]);
        assert_eq!(policy.banned, ["openssl"]);
    }

    #[test]
    fn a_list_that_is_not_there_is_an_error_that_names_it() {
        let error = Policy::parse("[licenses]\nallow = [\"MIT\"]\n").err().unwrap();
        assert!(error.to_string().contains("`deny` under [bans]"), "{error}");
    }

    #[test]
    fn a_package_is_named_with_what_it_breaks() {
        let policy = Policy::parse(TOML).unwrap();
        let finding = |name: &str, license: Value| {
            let package = json!({ "name": name, "version": "1.2.3", "license": license });
            policy.finding(&package).unwrap()
        };
        assert_eq!(finding("fine", json!("MIT OR GPL-3.0")), None);
        assert!(finding("strict", json!("GPL-3.0")).unwrap().contains("strict 1.2.3: `GPL-3.0`"));
        assert!(finding("silent", Value::Null).unwrap().contains("no license"));
        assert!(finding("openssl", json!("MIT")).unwrap().contains("banned"));
    }
}
