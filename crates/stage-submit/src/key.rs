//! Keys: what jobs are serialised by.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// What a job is serialised by: at most one job runs per key at any moment.
///
/// A text key is a string of bytes, because that is what a script's string is. Cloning copies
/// a pointer. `Int(7)` and `Text("7")` are different keys.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A whole number. Zero is [`Key::UNLIMITED`].
    Int(i64),
    /// A string of bytes, empty included.
    Text(Arc<[u8]>),
}

impl Key {
    /// Integer zero: its jobs are not serialised at all and start at once, side by side.
    pub const UNLIMITED: Self = Self::Int(0);

    /// Whether this is [`Key::UNLIMITED`].
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        matches!(self, Self::Int(0))
    }
}

impl From<i64> for Key {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self::Text(text.as_bytes().into())
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        Self::Text(text.into_bytes().into())
    }
}

impl From<&[u8]> for Key {
    fn from(bytes: &[u8]) -> Self {
        Self::Text(bytes.into())
    }
}

impl From<Vec<u8>> for Key {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Text(bytes.into())
    }
}

impl fmt::Display for Key {
    /// An integer as it is; a text in quotes, other bytes than UTF-8 replaced.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => write!(f, "{number}"),
            Self::Text(bytes) => {
                let text: Cow<'_, str> = String::from_utf8_lossy(bytes);
                write!(f, "{text:?}")
            }
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A key with its hash, computed once: the hash picks the shard and then the place in the
/// shard's table.
#[derive(Clone, Debug)]
pub(crate) struct Hashed {
    pub(crate) key: Key,
    pub(crate) hash: u64,
}

impl Hashed {
    pub(crate) fn new(key: Key, hasher: &impl std::hash::BuildHasher) -> Self {
        let hash = hasher.hash_one(&key);
        Self { key, hash }
    }
}
