use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Function, Key, Map};

/// An owned tree of data that may cross threads and nodes.
///
/// Cloning is O(1): every branch shares its buffer. Comparing is structural; `Int(1)` and
/// `Float(1.0)` differ, as they do in how they travel.
///
/// A tree built by hand may be of any depth. Trees that come from a script, a frame or JSON have
/// passed [`Limits`](crate::Limits), so code that walks those may recurse.
#[derive(Clone, PartialEq, Default)]
pub enum Value {
    /// The absence of a value.
    #[default]
    Nil,
    /// A truth value.
    Bool(bool),
    /// A 64-bit integer.
    Int(i64),
    /// A 64-bit float.
    Float(f64),
    /// Bytes; Lua strings and text are bytes that need not be UTF-8.
    Bytes(Bytes),
    /// A sequence.
    List(Arc<[Value]>),
    /// Keys with values.
    Map(Map),
    /// A function that travels as source text.
    Function(Function),
}

impl Value {
    /// Bytes copied from a string or a slice.
    #[must_use]
    pub fn bytes(data: impl AsRef<[u8]>) -> Self {
        Self::Bytes(Bytes::copy_from_slice(data.as_ref()))
    }

    /// A sequence of values.
    #[must_use]
    pub fn list(items: impl IntoIterator<Item = Value>) -> Self {
        Self::List(items.into_iter().collect())
    }

    /// The text of a `Bytes` value that is valid UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The integer of an `Int` value.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(int) => Some(*int),
            _ => None,
        }
    }

    /// The function of a `Function` value.
    #[must_use]
    pub fn as_function(&self) -> Option<&Function> {
        match self {
            Self::Function(function) => Some(function),
            _ => None,
        }
    }

    /// The entry of a list (keys count from 1) or map.
    #[must_use]
    pub fn entry(&self, key: &Key) -> Option<&Value> {
        match (self, key) {
            (Self::List(items), Key::Int(index)) => {
                items.get(usize::try_from(index.checked_sub(1)?).ok()?)
            }
            (Self::Map(map), key) => map.find(key),
            _ => None,
        }
    }

    /// This list or map with one entry replaced, added or (for nil) removed; nil counts as empty.
    ///
    /// `None` if this is something else. A list takes O(n), a pointer per entry; a map see [`Map::with`].
    #[must_use]
    pub fn with_entry(&self, key: Key, value: Value) -> Option<Value> {
        match (self, &key) {
            (Self::Nil, _) => Some(Map::from_entries(Vec::new()).with(key, present(value)).into()),
            (Self::Map(map), _) => Some(map.with(key, present(value)).into()),
            (Self::List(items), Key::Int(index))
                if (1..=items.len() as i64 + 1).contains(index) =>
            {
                let at = (index - 1) as usize;
                if value == Self::Nil && at + 1 < items.len() {
                    return Some(as_map(items).with(key, None).into());
                }
                let kept = items.iter().take(at).cloned().chain(present(value));
                Some(Self::list(kept.chain(items.iter().skip(at + 1).cloned())))
            }
            (Self::List(items), _) => Some(as_map(items).with(key, present(value)).into()),
            _ => None,
        }
    }

    /// What a script author calls this kind of value.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "boolean",
            Self::Int(_) | Self::Float(_) => "number",
            Self::Bytes(_) => "string",
            Self::List(_) | Self::Map(_) => "table",
            Self::Function(_) => "function",
        }
    }
}

fn present(value: Value) -> Option<Value> {
    (value != Value::Nil).then_some(value)
}

fn as_map(items: &[Value]) -> Map {
    (1..).map(Key::Int).zip(items.iter().cloned()).collect()
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("nil"),
            Self::Bool(value) => fmt::Debug::fmt(value, f),
            Self::Int(value) => fmt::Debug::fmt(value, f),
            Self::Float(value) => fmt::Debug::fmt(value, f),
            Self::Bytes(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Self::List(items) => f.debug_list().entries(items.iter()).finish(),
            Self::Map(map) => fmt::Debug::fmt(map, f),
            Self::Function(function) => fmt::Debug::fmt(function, f),
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::bytes(value)
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Bytes(value.into())
    }
}

impl From<Bytes> for Value {
    fn from(value: Bytes) -> Self {
        Self::Bytes(value)
    }
}

impl From<Map> for Value {
    fn from(value: Map) -> Self {
        Self::Map(value)
    }
}

impl From<Function> for Value {
    fn from(value: Function) -> Self {
        Self::Function(value)
    }
}
