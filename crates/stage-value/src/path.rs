use std::fmt;
use std::sync::Arc;

use crate::Key;

/// One step from a container to a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Segment {
    /// An argument or element, counted from 1 as in Lua.
    Index(usize),
    /// The value of a key.
    Key(Key),
    /// A variable that a function captured.
    Upvalue(Arc<str>),
}

/// Where in a tree something is: `args[2].owner.sock`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Path {
    root: &'static str,
    segments: Vec<Segment>,
}

impl Path {
    /// A path of steps from a root such as `args`.
    #[must_use]
    pub fn new(root: &'static str, segments: Vec<Segment>) -> Self {
        Self { root, segments }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.root)?;
        self.segments.iter().try_for_each(|segment| match segment {
            Segment::Index(index) => write!(f, "[{index}]"),
            Segment::Upvalue(name) => write!(f, " upvalue '{name}'"),
            Segment::Key(key) => write_key(f, key),
        })
    }
}

fn write_key(f: &mut fmt::Formatter<'_>, key: &Key) -> fmt::Result {
    const SHOWN: usize = 64;
    match key {
        Key::Bool(value) => write!(f, "[{value}]"),
        Key::Int(value) => write!(f, "[{value}]"),
        Key::Float(value) => write!(f, "[{value}]"),
        Key::Bytes(bytes) if is_name(bytes) && bytes.len() <= SHOWN => {
            write!(f, ".{}", bytes.escape_ascii())
        }
        Key::Bytes(bytes) => {
            let shown = &bytes[..bytes.len().min(SHOWN)];
            let more = if bytes.len() > SHOWN { "..." } else { "" };
            write!(f, "[\"{}{more}\"]", String::from_utf8_lossy(shown).escape_debug())
        }
    }
}

fn is_name(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| !first.is_ascii_digit())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// Why a value cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Containers stand within containers too often.
    #[error("nested deeper than {limit} levels")]
    TooDeep {
        /// The most levels allowed.
        limit: usize,
    },
    /// There are too many values.
    #[error("more than {limit} values in one message")]
    TooManyNodes {
        /// The most values allowed.
        limit: usize,
    },
    /// Strings are too long in all.
    #[error("more than {limit} bytes in one message; send it in parts or pass a key to it")]
    TooManyBytes {
        /// The most bytes allowed.
        limit: usize,
    },
    /// A table contains itself, or a function refers to itself through another one.
    #[error("it contains itself and cannot be sent")]
    Cycle,
    /// A kind of value that belongs to its own virtual machine.
    #[error("{kind} cannot be sent{hint}")]
    Unsendable {
        /// What it is, as the author calls it.
        kind: &'static str,
        /// What can be done instead, with its own leading separator; may be empty.
        hint: String,
    },
    /// A table key that is not a scalar.
    #[error("a table with a {kind} as key cannot be sent; keys are strings, numbers or booleans")]
    Key {
        /// What the key is.
        kind: &'static str,
    },
}

/// A value that cannot be sent, with the path to it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct ValueError {
    /// Where the offending part is.
    pub path: Path,
    /// What is wrong with it.
    pub problem: Problem,
}
