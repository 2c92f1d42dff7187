use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::errors::ConfigErrors;
use super::problem::{Problem, ProblemKind};
use super::source::Source;

/// The most bytes of a configuration. The largest sensible one is a long list of peers.
const MOST_BYTES: u64 = 1 << 20;

/// Reads a configuration's text, never more of it than is allowed.
pub(super) fn read(path: &Path) -> Result<String, ConfigErrors> {
    let fail = |problem| {
        let source = Source::new(path.display().to_string(), "");
        Err(ConfigErrors::new(source, vec![problem], 0))
    };
    let bytes = match bounded(path) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return fail(Problem::of_file(ProblemKind::TooLarge { limit: MOST_BYTES })),
        Err(error) => {
            let help = match error.kind() {
                io::ErrorKind::NotFound => "name another file; relative paths start here",
                io::ErrorKind::IsADirectory => "name a file in this folder",
                _ => "the node needs permission to read it",
            };
            return fail(Problem::of_file(ProblemKind::Unreadable(error)).help(help));
        }
    };
    String::from_utf8(bytes).or_else(|error| {
        let at = error.utf8_error().valid_up_to();
        fail(Problem::of_file(ProblemKind::NotText { at }).help("save the file as UTF-8"))
    })
}

/// The bytes of a file, or none if there are too many.
fn bounded(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = File::open(path)?;
    if file.metadata()?.len() > MOST_BYTES {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    // A device or a growing file may give more than its length said.
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= MOST_BYTES).then_some(bytes))
}
