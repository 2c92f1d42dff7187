//! JSON text to values and back.
//!
//! Objects become maps with text keys, arrays lists. The way back refuses what JSON does not have:
//! functions, infinite numbers, bytes that are not UTF-8.

use serde_json::Number;

use crate::{Key, Map, Value};

/// A value that JSON cannot hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("JSON has no {0}")]
pub struct NotJson(&'static str);

/// A value of parsed JSON.
///
/// JSON text is nested at most 128 deep by its parser, so walking it recursively is safe.
#[must_use]
pub fn from_json(json: serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Nil,
        serde_json::Value::Bool(value) => Value::Bool(value),
        serde_json::Value::Number(number) => {
            number.as_i64().map_or_else(|| Value::Float(number.as_f64().unwrap_or(0.0)), Value::Int)
        }
        serde_json::Value::String(text) => Value::from(text),
        serde_json::Value::Array(items) => Value::list(items.into_iter().map(from_json)),
        serde_json::Value::Object(entries) => Value::Map(
            entries.into_iter().map(|(key, value)| (Key::bytes(key), from_json(value))).collect(),
        ),
    }
}

/// JSON of a value that has passed [`Limits`](crate::Limits).
///
/// # Errors
/// [`NotJson`] names what JSON cannot hold.
pub fn to_json(value: &Value) -> Result<serde_json::Value, NotJson> {
    Ok(match value {
        Value::Nil => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Float(value) => {
            Number::from_f64(*value).ok_or(NotJson("number that is not finite"))?.into()
        }
        Value::Bytes(_) => value.as_str().ok_or(NotJson("text that is not UTF-8"))?.into(),
        Value::List(items) => items.iter().map(to_json).collect::<Result<_, _>>()?,
        Value::Map(map) => object(map)?,
        Value::Function(_) => return Err(NotJson("functions")),
    })
}

fn object(map: &Map) -> Result<serde_json::Value, NotJson> {
    map.iter()
        .map(|(key, value)| Ok((key_text(key)?, to_json(value)?)))
        .collect::<Result<serde_json::Map<_, _>, _>>()
        .map(serde_json::Value::Object)
}

fn key_text(key: &Key) -> Result<String, NotJson> {
    Ok(match key {
        Key::Bool(value) => value.to_string(),
        Key::Int(value) => value.to_string(),
        Key::Float(value) => value.to_string(),
        Key::Bytes(bytes) => {
            String::from_utf8(bytes.to_vec()).map_err(|_| NotJson("key that is not UTF-8"))?
        }
    })
}
