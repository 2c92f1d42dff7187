use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::Value;

/// The identity of a function's code: a BLAKE3 hash of its text, place and capture names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FunctionHash([u8; 32]);

impl FunctionHash {
    /// A hash from elsewhere.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The hash as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for FunctionHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(6).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The code of a function: what all its closures have in common.
#[derive(Debug, PartialEq, Eq)]
pub struct Prototype {
    text: Bytes,
    chunk: Arc<str>,
    line: u32,
    names: Vec<Arc<str>>,
    hash: FunctionHash,
}

impl Prototype {
    /// The code of one function expression.
    ///
    /// `text` is the source from `function` to `end`, `chunk` and `line` say where its author
    /// wrote it, and `names` are the variables of the enclosing code that it uses, in the
    /// order in which a [`Function`] lists their captures.
    #[must_use]
    pub fn new(text: Bytes, chunk: Arc<str>, line: u32, names: Vec<Arc<str>>) -> Self {
        let mut hasher = blake3::Hasher::new();
        let mut field = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        field(&text);
        field(chunk.as_bytes());
        field(&line.to_le_bytes());
        names.iter().for_each(|name| field(name.as_bytes()));
        let hash = FunctionHash(*hasher.finalize().as_bytes());
        Self { text, chunk, line, names, hash }
    }

    /// The source text of the function expression.
    #[must_use]
    pub fn text(&self) -> &Bytes {
        &self.text
    }

    /// The name of the chunk that the author wrote it in.
    #[must_use]
    pub fn chunk(&self) -> &Arc<str> {
        &self.chunk
    }

    /// The line of the chunk on which the text starts, counted from 1.
    #[must_use]
    pub fn line(&self) -> u32 {
        self.line
    }

    /// The names of the captured variables.
    #[must_use]
    pub fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// The identity of this code.
    #[must_use]
    pub fn hash(&self) -> FunctionHash {
        self.hash
    }
}

/// What a captured variable of a function holds.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Capture {
    /// A value, copied.
    Value(Value),
    /// The function itself: `local function f() ... f() ... end`.
    Itself,
    /// The environment that the receiving sandbox provides (`_ENV`).
    Environment,
    /// A part of the base library by its dotted name (`table.insert`), found at the receiver.
    Library(Arc<str>),
}

/// A function with the values that it captured. Cloning is O(1).
#[derive(Clone)]
pub struct Function {
    prototype: Arc<Prototype>,
    captures: Arc<[Capture]>,
}

impl Function {
    /// A function of some code and one capture per name of it.
    ///
    /// Returns `None` if the numbers of names and captures differ.
    #[must_use]
    pub fn new(prototype: Arc<Prototype>, captures: Vec<Capture>) -> Option<Self> {
        (prototype.names().len() == captures.len())
            .then(|| Self { prototype, captures: captures.into() })
    }

    /// The code.
    #[must_use]
    pub fn prototype(&self) -> &Arc<Prototype> {
        &self.prototype
    }

    /// What was captured, in the order of [`Prototype::names`].
    #[must_use]
    pub fn captures(&self) -> &[Capture] {
        &self.captures
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.prototype.hash() == other.prototype.hash() && self.captures == other.captures
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "function({}:{})", self.prototype.chunk, self.prototype.line)
    }
}
