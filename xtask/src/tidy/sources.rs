//! Files, one by one: their names, their sizes, and words that do not belong in them.

use std::fs;
use std::path::{Path, PathBuf};

use super::Finding;

/// A file past this many lines holds more than one concept.
const MAX_LINES: usize = 500;

/// File names that tell nothing of what is inside.
const NAMELESS: &[&str] = &["mod.rs", "utils.rs", "util.rs", "common.rs", "helpers.rs", "misc.rs"];

/// What no source file says, with the reason. Written in two halves, since this file is a source
/// file as well.
const UNFINISHED: &[(&str, &str)] = &[
    (concat!("to", "do!("), "unfinished code"),
    (concat!("unimple", "mented!("), "unfinished code"),
    (concat!("db", "g!("), "left from debugging"),
    (concat!("#[ig", "nore"), "a test that never runs tests nothing"),
    (concat!("TO", "DO"), "unfinished: do it, or file an issue"),
    (concat!("FIX", "ME"), "unfinished: do it, or file an issue"),
];

pub(crate) fn check(root: &Path, files: &[PathBuf]) -> Vec<Finding> {
    let machine_paths = machine_paths(root);
    let mut findings = Vec::new();
    for file in files {
        findings.extend(name(file));
        // What is not text has neither lines nor words.
        let Ok(text) = fs::read_to_string(root.join(file)) else { continue };
        if is_rust(file) {
            findings.extend(size(file, &text));
            findings.extend(unfinished(file, &text));
        }
        findings.extend(paths(file, &text, &machine_paths));
    }
    findings
}

fn is_rust(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "rs")
}

fn name(file: &Path) -> Option<Finding> {
    let name = file.file_name()?.to_str()?;
    NAMELESS
        .contains(&name)
        .then(|| Finding::new(file, 1, "name the file after the concept it holds"))
}

fn size(file: &Path, text: &str) -> Option<Finding> {
    let is_exempt = file.components().any(|part| {
        ["generated", "tests", "benches"].iter().any(|folder| part.as_os_str() == *folder)
    });
    let lines = text.lines().count();
    (lines > MAX_LINES && !is_exempt).then(|| {
        let message = format!("{lines} lines, {MAX_LINES} at most: give each concept a file");
        Finding::new(file, MAX_LINES + 1, message)
    })
}

fn unfinished(file: &Path, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        findings.extend(
            UNFINISHED
                .iter()
                .filter(|(word, _)| line.contains(word))
                .map(|(word, reason)| Finding::new(file, index + 1, format!("`{word}`: {reason}"))),
        );
    }
    findings
}

fn paths(file: &Path, text: &str, machine_paths: &[String]) -> Vec<Finding> {
    let is_here = |line: &str| machine_paths.iter().any(|path| line.contains(path.as_str()));
    text.lines()
        .enumerate()
        .filter(|(_, line)| is_here(line))
        .map(|(index, _)| Finding::new(file, index + 1, "a path of this machine"))
        .collect()
}

/// The folders that exist on this machine only: this clone, and the home of who runs the check.
fn machine_paths(root: &Path) -> Vec<String> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let folders = [Some(root.to_owned()), home];
    folders
        .into_iter()
        .flatten()
        .filter(|folder| folder.components().count() > 1)
        .map(|folder| format!("{}/", folder.display()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_telling_name_is_told() {
        assert!(name(Path::new("crates/pail/src/utils.rs")).is_some());
        assert!(name(Path::new("crates/pail/src/pour/mod.rs")).is_some());
        assert!(name(Path::new("crates/pail/src/pour.rs")).is_none());
    }

    #[test]
    fn a_long_file_is_told_unless_it_is_generated_or_a_test() {
        let long = "\n".repeat(MAX_LINES + 1);
        assert!(size(Path::new("crates/pail/src/pour.rs"), &long).is_some());
        assert!(size(Path::new("crates/pail/src/pour.rs"), &long[1..]).is_none());
        assert!(size(Path::new("crates/pail/src/generated/a.rs"), &long).is_none());
        assert!(size(Path::new("crates/pail/tests/a.rs"), &long).is_none());
    }

    #[test]
    fn every_unfinished_line_is_told_with_its_number() {
        let text =
            format!("fn pour() {{\n    {}\n}}\n// {}: rest\n", UNFINISHED[0].0, UNFINISHED[4].0);
        let lines: Vec<_> =
            unfinished(Path::new("a.rs"), &text).iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [2, 4]);
    }

    #[test]
    fn a_path_of_this_machine_is_told() {
        let here = ["/home/somebody/".to_owned()];
        let found = paths(Path::new("a.md"), "see\n/home/somebody/notes\n/home/other/x\n", &here);
        assert_eq!(found, [Finding::new("a.md", 2, "a path of this machine")]);
    }
}
