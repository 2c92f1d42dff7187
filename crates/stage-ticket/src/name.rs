use std::fmt;
use std::sync::Arc;

/// The name of a category: 1 to [`CategoryName::MAX_BYTES`] bytes of text without control characters.
///
/// Cloning shares the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CategoryName(Arc<str>);

impl CategoryName {
    /// The longest name, in bytes. A longer one is refused before it is copied.
    pub const MAX_BYTES: usize = 255;

    /// Checks and copies `text`.
    ///
    /// # Errors
    ///
    /// [`NameError`] when the text is empty, too long, or holds a control character.
    pub fn try_new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(NameError::TooLong { bytes: text.len() });
        }
        if let Some(at) = text.find(char::is_control) {
            return Err(NameError::ControlCharacter { at });
        }
        Ok(Self(text.into()))
    }

    /// The text itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id that every node computes from this name, without asking anybody.
    #[must_use]
    pub fn id(&self) -> CategoryId {
        CategoryId::of(self.as_str())
    }
}

impl fmt::Display for CategoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CategoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl std::borrow::Borrow<str> for CategoryName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A category's id: the first 8 bytes of BLAKE3 of its name.
///
/// It is the same on every node and under every coordinator, so a token stays 32 bytes and `Copy`
/// and survives a change of coordinator. Two names with one id cannot live together: a coordinator
/// refuses the second.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CategoryId(pub u64);

impl CategoryId {
    /// The id of the category called `name`.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let mut first = [0; 8];
        first.copy_from_slice(&blake3::hash(name.as_bytes()).as_bytes()[..8]);
        Self(u64::from_le_bytes(first))
    }
}

impl fmt::Display for CategoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for CategoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text cannot name a category.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The text is empty.
    #[error("a category needs a name")]
    Empty,
    /// The text is longer than [`CategoryName::MAX_BYTES`].
    #[error("a category name of {bytes} bytes is too long, use at most {}", CategoryName::MAX_BYTES)]
    TooLong {
        /// The length of the text.
        bytes: usize,
    },
    /// The text holds a control character.
    #[error("a category name cannot hold a control character (byte {at})")]
    ControlCharacter {
        /// The byte offset of the character.
        at: usize,
    },
}
