//! Every document in English has its Korean counterpart, and the other way round.

use std::path::{Path, PathBuf};

use super::Finding;

/// Charts and tables that `cargo xtask bench` draws have no prose to translate.
const DRAWN: &str = "docs/bench";

pub(crate) fn check(files: &[PathBuf]) -> Vec<Finding> {
    let is_there = |path: &Path| files.iter().any(|file| file == path);
    files
        .iter()
        .filter_map(|file| Some((file, counterpart(file)?)))
        .filter(|(_, counterpart)| !is_there(counterpart))
        .map(|(file, counterpart)| {
            Finding::new(file, 1, format!("has no counterpart {}", counterpart.display()))
        })
        .collect()
}

/// The same document in the other language; none for files that are not translated.
fn counterpart(file: &Path) -> Option<PathBuf> {
    match file.to_str()? {
        "README.md" => return Some("README.ko.md".into()),
        "README.ko.md" => return Some("README.md".into()),
        _ => {}
    }
    if file.extension()? != "md" || file.starts_with(DRAWN) {
        return None;
    }
    let inside = file.strip_prefix("docs").ok()?;
    Some(match inside.strip_prefix("ko") {
        Ok(korean) => Path::new("docs").join(korean),
        Err(_) => Path::new("docs/ko").join(inside),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(files: &[&str]) -> Vec<String> {
        let files: Vec<_> = files.iter().map(PathBuf::from).collect();
        check(&files).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_document_in_one_language_is_told() {
        assert_eq!(told(&["docs/lua.md"]), ["docs/lua.md:1: has no counterpart docs/ko/lua.md"]);
        assert_eq!(told(&["docs/ko/lua.md"]), ["docs/ko/lua.md:1: has no counterpart docs/lua.md"]);
        assert_eq!(told(&["README.ko.md"]), ["README.ko.md:1: has no counterpart README.md"]);
    }

    #[test]
    fn pairs_and_files_without_prose_are_fine() {
        let files = ["README.md", "README.ko.md", "docs/a/b.md", "docs/ko/a/b.md"];
        assert!(told(&files).is_empty());
        assert!(told(&["CHANGELOG.md", "docs/map.svg", "docs/bench/table.md"]).is_empty());
    }
}
