use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;

/// The most bytes of a script.
pub(crate) const SCRIPT_BYTES: usize = 16 << 20;

/// A script and where it came from.
#[derive(Clone, Debug)]
pub struct Script {
    /// What errors call it; its path as the author wrote it.
    pub name: String,
    /// Its text.
    pub text: Bytes,
    /// Its file, which is followed when it changes; its folder is where its modules are.
    pub path: Option<PathBuf>,
}

/// A script that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The operating system does not give it.
    #[error("cannot read the script {}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// It is too large to be a script.
    #[error("the script {} has more than {limit} bytes", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// The most bytes.
        limit: usize,
    },
}

impl Script {
    /// Reads a file of at most 16 MiB.
    ///
    /// # Errors
    /// If it cannot be read or is larger.
    pub fn read(path: impl Into<PathBuf>) -> Result<Self, ReadError> {
        let path = path.into();
        let text = match read_up_to(&path, SCRIPT_BYTES as u64 + 1) {
            Ok(text) => text,
            Err(source) => return Err(ReadError::File { path, source }),
        };
        if text.len() > SCRIPT_BYTES {
            return Err(ReadError::TooLarge { path, limit: SCRIPT_BYTES });
        }
        Ok(Self { name: path.display().to_string(), text: text.into(), path: Some(path) })
    }

    /// A script that is in no file.
    #[must_use]
    pub fn of_text(name: impl Into<String>, text: impl Into<Bytes>) -> Self {
        Self { name: name.into(), text: text.into(), path: None }
    }

    /// The text without what the `lua` program skips as well: a byte order mark, and a first line
    /// that starts with `#`. Line numbers stay.
    pub(crate) fn code(&self) -> Bytes {
        const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
        let marked = self.text.starts_with(BYTE_ORDER_MARK);
        let text = self.text.slice(if marked { BYTE_ORDER_MARK.len() } else { 0 }..);
        if text.first() != Some(&b'#') {
            return text;
        }
        let first_line = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
        text.slice(first_line..)
    }
}

fn read_up_to(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut text)?;
    Ok(text)
}
