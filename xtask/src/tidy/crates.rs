//! What every crate carries: a README that shows it at work, a front page, the shared lints.

use std::fs;

use super::Finding;
use crate::workspace::{Member, Workspace};

/// Fewer lines of text than this say nothing that the name of the crate does not.
const README_LINES: usize = 8;

pub(crate) fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in &workspace.members {
        // A file that is not there reads as empty, and an empty file breaks the rule.
        let read = |name: &str| {
            fs::read_to_string(workspace.root.join(&member.folder).join(name)).unwrap_or_default()
        };
        let front = if read("src/lib.rs").is_empty() { "src/main.rs" } else { "src/lib.rs" };
        findings.extend(readme(member, &read("README.md")));
        findings.extend(front_page(member, front, &read(front)));
        findings.extend(lints(member, &read("Cargo.toml")));
    }
    findings
}

fn readme(member: &Member, text: &str) -> Option<Finding> {
    let lines = text.lines().filter(|line| !line.trim().is_empty()).count();
    let shows_code = text.lines().any(|line| line.starts_with("```"));
    let message = match (lines, shows_code) {
        (0, _) => "missing or empty: say what problem the crate solves",
        (1..README_LINES, _) => "too short to tell what problem the crate solves",
        (_, false) => "shows no code: start with one screen that runs",
        (_, true) => return None,
    };
    Some(Finding::new(member.folder.join("README.md"), 1, message))
}

fn front_page(member: &Member, name: &str, text: &str) -> Option<Finding> {
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let is_front_page = first.starts_with("//!") || first.starts_with("#![doc");
    (!is_front_page).then(|| {
        Finding::new(
            member.folder.join(name),
            1,
            "starts without `//!`: it is the crate's front page",
        )
    })
}

fn lints(member: &Member, manifest: &str) -> Option<Finding> {
    let mut section = "";
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        } else if section == "[lints]" && line.replace(' ', "") == "workspace=true" {
            return None;
        }
    }
    let message = "lacks `[lints] workspace = true`";
    Some(Finding::new(member.folder.join("Cargo.toml"), 1, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> Member {
        Member {
            name: "pail".into(),
            folder: "crates/pail".into(),
            dependencies: Vec::new(),
            benches: Vec::new(),
            has_library: true,
        }
    }

    #[test]
    fn a_readme_says_enough_and_shows_code() {
        let told = |text: &str| readme(&member(), text).map(|finding| finding.to_string());
        let prose = "a line\n".repeat(README_LINES);
        assert!(told("").unwrap().contains("missing"));
        assert!(told("# pail\n").unwrap().contains("too short"));
        assert!(told(&prose).unwrap().contains("shows no code"));
        assert_eq!(told(&format!("{prose}```rust\n```\n")), None);
    }

    #[test]
    fn the_first_line_of_a_crate_is_documentation() {
        let told = |text: &str| front_page(&member(), "src/lib.rs", text).is_some();
        assert!(told("mod pail;\n//! late\n"));
        assert!(told(""));
        assert!(!told("\n//! A pail.\n"));
        assert!(!told("#![doc = include_str!(\"../README.md\")]\n"));
    }

    #[test]
    fn lints_are_inherited_in_their_own_section() {
        let told = |text: &str| lints(&member(), text).is_some();
        assert!(!told("[package]\nname = \"pail\"\n\n[lints]\nworkspace = true\n"));
        assert!(told("[package]\nworkspace = true\n"));
        assert!(told("[lints]\n\n[dependencies]\nworkspace = true\n"));
    }
}
