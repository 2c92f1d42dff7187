use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How a file with tests ends.
const ENDING: &str = "_test.lua";

/// How deep folders are looked through.
const DEPTH: usize = 16;

/// There are no tests.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// A folder or file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// No file has the name of one with tests.
    #[error("no file in {} ends in {ENDING}", path.display())]
    None {
        /// Where they were looked for.
        path: PathBuf,
    },
}

/// The files with tests in a folder and below, in their order; a file is one whatever its name.
///
/// # Errors
/// If there is none.
pub(super) fn find(path: &Path) -> Result<Vec<PathBuf>, FindError> {
    let unreadable = |path: &Path, source| FindError::Unreadable { path: path.to_owned(), source };
    if fs::metadata(path).map_err(|error| unreadable(path, error))?.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    let mut folders = vec![(path.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|error| unreadable(&folder, error))? {
            let entry = entry.map_err(|error| unreadable(&folder, error))?;
            let (name, path) = (entry.file_name(), shown(&entry.path()));
            let name = name.to_string_lossy();
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder && !name.starts_with('.') && depth < DEPTH {
                folders.push((path, depth + 1));
            } else if !is_folder && name.ends_with(ENDING) {
                found.push(path);
            }
        }
    }
    found.sort();
    if found.is_empty() { Err(FindError::None { path: path.to_owned() }) } else { Ok(found) }
}

/// A path as its author would write it.
fn shown(path: &Path) -> PathBuf {
    path.strip_prefix(".").unwrap_or(path).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_found_in_folders_below_and_not_in_hidden_ones() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["b_test.lua", "lib/a_test.lua", "lib/a.lua", ".git/c_test.lua", "test.lua"] {
            fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            fs::write(at(name), "").unwrap();
        }
        assert_eq!(find(folder.path()).unwrap(), [at("b_test.lua"), at("lib/a_test.lua")]);
        assert_eq!(find(&at("test.lua")).unwrap(), [at("test.lua")]);
    }

    #[test]
    fn a_folder_without_tests_and_one_that_is_not_there_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let none = find(folder.path()).unwrap_err();
        assert!(none.to_string().ends_with("ends in _test.lua"), "{none}");
        let gone = find(&folder.path().join("gone")).unwrap_err();
        assert!(gone.to_string().contains("No such file"), "{gone}");
    }
}
