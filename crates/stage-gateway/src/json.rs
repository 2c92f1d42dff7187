//! Values as JSON and back, without loss.
//!
//! What JSON has goes as it is. What it lacks goes as an object whose only key starts with `$`:
//! `{"$int": "9007199254740993"}` for integers that a browser would round, `{"$bytes": BASE64}` for
//! bytes that are not UTF-8, `{"$float": "nan" | "inf" | "-inf"}`, and `{"$map": [[KEY, VALUE], ...]}`
//! for maps with other keys than text. Recursion is bounded by [`DEPTH`], on both ways.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};
use stage_value::{Key, Map, Value};

/// The most lists and maps within each other.
pub const DEPTH: usize = 64;

/// The largest integer up to which JavaScript numbers are exact.
const EXACT: u64 = 1 << 53;

/// JSON that is no value, or a value that is no JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// Too many containers within each other.
    #[error("lists and objects nest more than {DEPTH} deep; flatten them")]
    Depth,
    /// A number beyond 64 bits.
    #[error("the number {0} is no 64-bit integer; write {0}.0 for a float, or send it as text")]
    Range(String),
    /// An object that is marked as something JSON lacks, and is not.
    #[error("{{\"{0}\": ...}} is {1}")]
    Marked(String, &'static str),
    /// A key of a kind that this version does not know.
    #[error("a map has a key of an unknown kind; use text or integers")]
    Key,
    /// Functions stay within the mesh.
    #[error("a function cannot be sent to an outside client; return its results instead")]
    Function,
}

/// The value of parsed JSON. O(its size).
///
/// # Errors
/// [`JsonError`] says what is no value.
pub fn from_json(json: Json) -> Result<Value, JsonError> {
    read(json, 0)
}

/// JSON of a value. O(its size).
///
/// # Errors
/// [`JsonError::Function`] and [`JsonError::Depth`].
pub fn to_json(value: &Value) -> Result<Json, JsonError> {
    write(value, 0)
}

fn deeper(depth: usize) -> Result<usize, JsonError> {
    if depth < DEPTH { Ok(depth + 1) } else { Err(JsonError::Depth) }
}

fn read(json: Json, depth: usize) -> Result<Value, JsonError> {
    Ok(match json {
        Json::Null => Value::Nil,
        Json::Bool(value) => Value::Bool(value),
        Json::Number(number) => match (number.as_i64(), number.is_f64()) {
            (Some(value), _) => Value::Int(value),
            (None, true) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            (None, false) => return Err(JsonError::Range(number.to_string())),
        },
        Json::String(text) => Value::from(text),
        Json::Array(items) => {
            let depth = deeper(depth)?;
            let items = items.into_iter().map(|item| read(item, depth));
            Value::list(items.collect::<Result<Vec<_>, _>>()?)
        }
        Json::Object(object) => {
            let depth = deeper(depth)?;
            if is_marked(&object) {
                return object
                    .into_iter()
                    .next()
                    .map_or(Ok(Value::Nil), |(mark, json)| read_marked(mark, json, depth));
            }
            let entries =
                object.into_iter().map(|(key, json)| Ok((Key::bytes(key), read(json, depth)?)));
            Value::Map(Map::from_entries(entries.collect::<Result<_, _>>()?))
        }
    })
}

fn is_marked(object: &serde_json::Map<String, Json>) -> bool {
    object.len() == 1 && object.keys().all(|key| key.starts_with('$'))
}

fn read_marked(mark: String, json: Json, depth: usize) -> Result<Value, JsonError> {
    let text = json.as_str();
    let (read, what) = match mark.as_str() {
        "$int" => {
            let value = text.and_then(|text| text.parse().ok()).map(Value::Int);
            (value, "not a 64-bit integer in quotes")
        }
        "$float" => {
            let value = text.and_then(float_named).map(Value::Float);
            (value, "none of \"nan\", \"inf\" and \"-inf\"")
        }
        "$bytes" => {
            let bytes = text.and_then(|text| STANDARD.decode(text).ok());
            (bytes.map(|bytes| Value::Bytes(bytes.into())), "not base64 with its padding")
        }
        "$map" => return read_map(mark, json, depth),
        _ => {
            (None, "no mark known here; an object of such a key goes as {\"$map\": [[KEY, VALUE]]}")
        }
    };
    read.ok_or(JsonError::Marked(mark, what))
}

fn read_map(mark: String, json: Json, depth: usize) -> Result<Value, JsonError> {
    let pairs = match json {
        Json::Array(pairs) => pairs,
        _ => return Err(JsonError::Marked(mark, "not a list of [KEY, VALUE]")),
    };
    let mut entries = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let pair = match pair {
            Json::Array(pair) => <[Json; 2]>::try_from(pair).ok(),
            _ => None,
        };
        let Some([key, value]) = pair else {
            return Err(JsonError::Marked(mark, "not a list of [KEY, VALUE]"));
        };
        let key = match read(key, depth)? {
            Value::Bool(key) => Some(Key::Bool(key)),
            Value::Int(key) => Some(Key::Int(key)),
            Value::Float(key) => Key::float(key),
            Value::Bytes(key) => Some(Key::Bytes(key)),
            _ => None,
        };
        let Some(key) = key else {
            return Err(JsonError::Marked(mark, "a map with a key that is no scalar"));
        };
        entries.push((key, read(value, depth)?));
    }
    Ok(Value::Map(Map::from_entries(entries)))
}

fn float_named(name: &str) -> Option<f64> {
    match name {
        "nan" => Some(f64::NAN),
        "inf" => Some(f64::INFINITY),
        "-inf" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

fn write(value: &Value, depth: usize) -> Result<Json, JsonError> {
    Ok(match value {
        Value::Nil => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(value) => int(*value),
        Value::Float(value) => float(*value),
        Value::Bytes(bytes) => text_or_bytes(bytes),
        Value::List(items) => {
            let depth = deeper(depth)?;
            Json::Array(items.iter().map(|item| write(item, depth)).collect::<Result<_, _>>()?)
        }
        Value::Map(map) => write_map(map, deeper(depth)?)?,
        Value::Function(_) => return Err(JsonError::Function),
    })
}

fn write_map(map: &Map, depth: usize) -> Result<Json, JsonError> {
    let mut object = serde_json::Map::new();
    for (key, value) in map {
        let Some(key) = text_of(key) else { return write_pairs(map, depth) };
        object.insert(key.to_owned(), write(value, depth)?);
    }
    if is_marked(&object) { write_pairs(map, depth) } else { Ok(Json::Object(object)) }
}

fn write_pairs(map: &Map, depth: usize) -> Result<Json, JsonError> {
    let pair = |(key, value): (&Key, &Value)| {
        let key = match key {
            Key::Bool(key) => Json::Bool(*key),
            Key::Int(key) => int(*key),
            Key::Float(key) => float(*key),
            Key::Bytes(key) => text_or_bytes(key),
            _ => return Err(JsonError::Key),
        };
        Ok(json!([key, write(value, depth)?]))
    };
    let pairs = map.iter().map(pair).collect::<Result<Vec<_>, _>>()?;
    Ok(json!({ "$map": pairs }))
}

fn text_of(key: &Key) -> Option<&str> {
    match key {
        Key::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

fn int(value: i64) -> Json {
    if value.unsigned_abs() <= EXACT { json!(value) } else { json!({ "$int": value.to_string() }) }
}

fn float(value: f64) -> Json {
    match value {
        _ if value.is_nan() => json!({ "$float": "nan" }),
        f64::INFINITY => json!({ "$float": "inf" }),
        f64::NEG_INFINITY => json!({ "$float": "-inf" }),
        _ => json!(value),
    }
}

fn text_or_bytes(bytes: &[u8]) -> Json {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "$bytes": STANDARD.encode(bytes) }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::Nil),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            prop_oneof![any::<f64>(), Just(f64::INFINITY), Just(-0.0)]
                .prop_filter("is equal to itself", |value| !value.is_nan())
                .prop_map(Value::Float),
            any::<Vec<u8>>().prop_map(|bytes| Value::Bytes(bytes.into())),
            "[$a-z가]{0,6}".prop_map(Value::from),
        ];
        let key = prop_oneof![
            any::<i64>().prop_map(Key::Int),
            any::<bool>().prop_map(Key::Bool),
            "(\\$int|\\$map|[a-z]{0,3})".prop_map(Key::bytes),
            any::<Vec<u8>>().prop_map(Key::bytes),
        ];
        scalar.prop_recursive(4, 40, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::list),
                prop::collection::vec((key.clone(), inner), 0..5)
                    .prop_map(|entries| Value::Map(Map::from_entries(entries))),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_value_comes_back_from_the_text_of_its_json(value in values()) {
            let text = to_json(&value).unwrap().to_string();
            prop_assert_eq!(from_json(serde_json::from_str(&text).unwrap()), Ok(value), "{}", text);
        }
    }

    #[test]
    fn what_a_browser_would_round_is_marked() {
        assert_eq!(to_json(&Value::Int(1 << 53)).unwrap().to_string(), "9007199254740992");
        let past = to_json(&Value::Int((1 << 53) + 1)).unwrap();
        assert_eq!(past.to_string(), r#"{"$int":"9007199254740993"}"#);
        let nan = to_json(&Value::Float(f64::NAN)).unwrap();
        assert_eq!(nan.to_string(), r#"{"$float":"nan"}"#);
        let bytes = to_json(&Value::Bytes(vec![0xff, 0].into())).unwrap();
        assert_eq!(bytes.to_string(), r#"{"$bytes":"/wA="}"#);
    }

    #[test]
    fn what_is_no_value_is_refused_with_what_to_do() {
        let refused = |text: &str| from_json(serde_json::from_str(text).unwrap()).unwrap_err();
        assert!(refused("18446744073709551615").to_string().contains("send it as text"));
        for text in
            [r#"{"$int":1}"#, r#"{"$bytes":"%"}"#, r#"{"$map":[[1]]}"#, r#"{"$map":[[[],1]]}"#]
        {
            assert!(matches!(refused(text), JsonError::Marked(..)), "{text}");
        }
        let unknown = refused(r#"{"$fn":"return 1"}"#).to_string();
        assert!(unknown.contains("no mark known here"), "{unknown}");
    }

    #[test]
    fn what_is_nested_too_deep_is_refused_on_both_ways() {
        let nested = |depth| (0..depth).fold(Value::Nil, |value, _| Value::list([value]));
        let json =
            |depth: usize| serde_json::from_str(&("[".repeat(depth) + &"]".repeat(depth))).unwrap();
        assert!(to_json(&nested(DEPTH)).is_ok() && from_json(json(DEPTH)).is_ok());
        assert_eq!(to_json(&nested(DEPTH + 1)), Err(JsonError::Depth));
        assert_eq!(from_json(json(DEPTH + 1)), Err(JsonError::Depth));
    }
}
