use bytes::Bytes;
#[cfg(any(feature = "mysql", feature = "sqlite"))]
use sqlx::{Arguments, Database, Encode, Type};
use stage_value::{Value, json};

use crate::Error;

/// What is bound to a place of a statement.
///
/// Text and numbers become what the place wants (PostgreSQL knows what that is; the others convert by
/// themselves). [`From<Value>`] gives bytes that are UTF-8 as text, other bytes as they are, and lists
/// and maps as JSON.
#[derive(Clone, Debug, PartialEq)]
pub enum Param {
    /// NULL.
    Null,
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// Text.
    Text(Bytes),
    /// Bytes, even where they could be text.
    Blob(Bytes),
    /// JSON, or an array where the database has such.
    Json(Value),
}

impl From<Value> for Param {
    fn from(value: Value) -> Self {
        match value {
            Value::Nil => Self::Null,
            Value::Bool(value) => Self::Bool(value),
            Value::Int(value) => Self::Int(value),
            Value::Float(value) => Self::Float(value),
            Value::Bytes(bytes) if std::str::from_utf8(&bytes).is_ok() => Self::Text(bytes),
            Value::Bytes(bytes) => Self::Blob(bytes),
            other => Self::Json(other),
        }
    }
}

#[cfg(feature = "postgres")]
impl Param {
    /// What to call it in errors.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Text(_) => "text",
            Self::Blob(_) => "bytes that are no text",
            Self::Json(_) => "a table",
        }
    }
}

/// What a parameter takes at most beside its text or bytes.
#[cfg(any(feature = "mysql", feature = "sqlite"))]
const BESIDE: usize = 16;

/// Its text, if it is text.
pub(crate) fn as_text(bytes: &Bytes) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// A value as JSON.
pub(crate) fn as_json(position: usize, value: &Value) -> Result<serde_json::Value, Error> {
    json::to_json(value).map_err(|error| Error::Parameter { position, why: error.to_string() })
}

/// Parameters as what they are, for databases that convert by themselves.
///
/// # Errors
/// More or fewer than the statement has places, JSON of what it does not have, or more bytes than the database takes.
#[cfg(any(feature = "mysql", feature = "sqlite"))]
pub(crate) fn bind<D>(
    wanted: usize,
    params: &[Param],
    most_bytes: usize,
) -> Result<D::Arguments, Error>
where
    D: Database,
    bool: for<'q> Encode<'q, D> + Type<D>,
    i64: for<'q> Encode<'q, D> + Type<D>,
    f64: for<'q> Encode<'q, D> + Type<D>,
    String: for<'q> Encode<'q, D> + Type<D>,
    Vec<u8>: for<'q> Encode<'q, D> + Type<D>,
    Option<i64>: for<'q> Encode<'q, D> + Type<D>,
{
    if wanted != params.len() {
        return Err(Error::Parameters { wanted, given: params.len() });
    }
    let mut arguments = D::Arguments::default();
    let mut sum = 0_usize;
    for (position, param) in (1..).zip(params) {
        let document = match param {
            Param::Json(value) => as_json(position, value)?.to_string(),
            _ => String::new(),
        };
        let inside = match param {
            Param::Text(bytes) | Param::Blob(bytes) => bytes.len(),
            _ => document.len(),
        };
        sum += BESIDE + inside;
        if sum > most_bytes {
            let why = format!(
                "with it, the parameters have more than the {most_bytes} bytes that the server takes \
                 (max_allowed_packet)"
            );
            return Err(Error::Parameter { position, why });
        }
        let added = match param {
            Param::Null => arguments.add(None::<i64>),
            Param::Bool(value) => arguments.add(*value),
            Param::Int(number) => arguments.add(*number),
            Param::Float(number) => arguments.add(*number),
            Param::Text(bytes) => match as_text(bytes) {
                Some(text) => arguments.add(text.to_owned()),
                None => arguments.add(bytes.to_vec()),
            },
            Param::Blob(bytes) => arguments.add(bytes.to_vec()),
            Param::Json(_) => arguments.add(document),
        };
        added.map_err(|error| Error::Parameter { position, why: error.to_string() })?;
    }
    Ok(arguments)
}
