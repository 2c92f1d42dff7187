use std::io;
use std::ops::Range;
use std::path::PathBuf;

/// One thing that is wrong with a configuration, with the place where it is.
#[derive(Debug)]
pub struct Problem {
    pub(super) kind: ProblemKind,
    pub(super) span: Option<Range<usize>>,
    pub(super) help: Option<String>,
}

/// What is wrong. Keys are paths such as `#startup[0].script`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProblemKind {
    /// The file is not there or cannot be read.
    #[error("the configuration cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    /// The file is too large to be a configuration.
    #[error("a configuration is at most {limit} bytes, this file is larger")]
    TooLarge {
        /// The most bytes.
        limit: u64,
    },
    /// The file is no text.
    #[error("not UTF-8 from byte {at}")]
    NotText {
        /// The first byte that is no text.
        at: usize,
    },
    /// The text is not JSON, or uses more of a superset of it than comments and trailing commas.
    #[error("not JSON: {0}")]
    Syntax(String),
    /// The text has no value, or one that is no object.
    #[error("there is no object in this file")]
    Empty,
    /// A value of another type than the key has.
    #[error("`{key}` must be {expected}, not {found}")]
    WrongType {
        /// Where it stands.
        key: String,
        /// What belongs there.
        expected: &'static str,
        /// What stands there.
        found: &'static str,
    },
    /// A number outside of its range.
    #[error("`{key}` must be {range}, not {found}")]
    OutOfRange {
        /// Where it stands.
        key: String,
        /// The range.
        range: String,
        /// What stands there.
        found: String,
    },
    /// A text that does not have the form its key asks for.
    #[error("`{key}`: {found} is not {expected}")]
    Malformed {
        /// Where it stands.
        key: String,
        /// What belongs there.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// A key that this section does not have.
    #[error("unknown key {key} in {section}")]
    UnknownKey {
        /// The key.
        key: String,
        /// The section.
        section: String,
    },
    /// A key that this section must have.
    #[error("{section} needs a `{key}`")]
    MissingKey {
        /// The key.
        key: &'static str,
        /// The section.
        section: String,
    },
    /// A key, stage or peer that is written twice.
    #[error("{what} is listed twice")]
    Duplicate {
        /// The key, stage or peer.
        what: String,
    },
    /// A script that is not there or is no file.
    #[error("`{key}`: there is no script {}", .path.display())]
    ScriptMissing {
        /// Where it stands.
        key: String,
        /// Where the script was looked for.
        path: PathBuf,
    },
    /// A file that is not there or is no file.
    #[error("`{key}`: there is no file {}", .path.display())]
    FileMissing {
        /// Where it stands.
        key: String,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A listener that others could reach without being asked who they are.
    #[error("`{key}`: {reason}")]
    Exposed {
        /// Where it stands.
        key: String,
        /// Why it is refused.
        reason: &'static str,
    },
}

impl Problem {
    pub(super) fn at(span: Range<usize>, kind: ProblemKind) -> Self {
        Self { kind, span: Some(span), help: None }
    }

    pub(super) fn of_file(kind: ProblemKind) -> Self {
        Self { kind, span: None, help: None }
    }

    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// What is wrong.
    #[must_use]
    pub fn kind(&self) -> &ProblemKind {
        &self.kind
    }

    /// The bytes of the text that are wrong; none if the whole file is.
    #[must_use]
    pub fn span(&self) -> Option<Range<usize>> {
        self.span.clone()
    }

    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

/// Text of a file as a message may quote it: in quotes, escaped, and short.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 40;
    let short: String = text.chars().take(SHOWN).collect();
    let dots = if short.len() < text.len() { "..." } else { "" };
    format!("\"{}{dots}\"", short.escape_debug())
}
