//! Values as outside clients see them, to and from the value tree.
//!
//! Recursion is bounded: protobuf messages nest at most 100 deep before they reach this code, and
//! the way out stops at the same depth.

use stage_proto::signal::v1 as proto;
use stage_proto::signal::v1::value::Kind;
use stage_value::{Budget, Key, Limits, Map, Path, Problem, Segment, Value, ValueError};

/// The most containers within containers: a level takes up to three protobuf messages, and
/// protobuf decoders stop at 100.
const DEPTH: usize = 32;

/// Arguments or results from a client or a node.
///
/// # Errors
/// [`ValueError`] with the path to what exceeds a limit or has no known kind.
pub(crate) fn from_plain(
    root: &'static str,
    values: Vec<proto::Value>,
    limits: Limits,
) -> Result<Vec<Value>, ValueError> {
    let limits = Limits { depth: limits.depth.min(DEPTH), ..limits };
    let mut reader = Walk { budget: Budget::new(limits), path: Vec::new() };
    reader.list(values, 1).map_err(|problem| reader.error(root, problem))
}

/// Arguments or results for a client or a node.
///
/// # Errors
/// [`ValueError`] with the path to a function or to what is nested too deep.
pub(crate) fn to_plain(
    root: &'static str,
    values: &[Value],
) -> Result<Vec<proto::Value>, ValueError> {
    let limits = Limits { depth: DEPTH, nodes: usize::MAX, bytes: usize::MAX };
    let mut writer = Walk { budget: Budget::new(limits), path: Vec::new() };
    writer.plain_list(values, 1).map_err(|problem| writer.error(root, problem))
}

/// What is left of the limits, and where the walk is. After an error the path stays.
struct Walk {
    budget: Budget,
    path: Vec<Segment>,
}

impl Walk {
    fn list(&mut self, values: Vec<proto::Value>, depth: usize) -> Result<Vec<Value>, Problem> {
        let mut items = Vec::with_capacity(values.len());
        for (index, value) in values.into_iter().enumerate() {
            self.path.push(Segment::Index(index + 1));
            items.push(self.value(value, depth)?);
            self.path.pop();
        }
        Ok(items)
    }

    fn value(&mut self, value: proto::Value, depth: usize) -> Result<Value, Problem> {
        self.budget.nodes(1)?;
        match value.kind {
            Some(Kind::List(list)) => {
                self.budget.depth(depth)?;
                self.list(list.items, depth + 1).map(Value::list)
            }
            Some(Kind::Map(map)) => {
                self.budget.depth(depth)?;
                self.map(map.entries, depth + 1).map(Value::Map)
            }
            scalar => self.scalar(scalar),
        }
    }

    fn scalar(&mut self, kind: Option<Kind>) -> Result<Value, Problem> {
        Ok(match kind {
            Some(Kind::Nil(_)) => Value::Nil,
            Some(Kind::Boolean(value)) => Value::Bool(value),
            Some(Kind::Integer(value)) => Value::Int(value),
            Some(Kind::Number(value)) => Value::Float(value),
            Some(Kind::Text(text)) => {
                self.budget.bytes(text.len())?;
                Value::from(text)
            }
            Some(Kind::Data(data)) => {
                self.budget.bytes(data.len())?;
                Value::Bytes(data)
            }
            _ => return Err(unsendable("a value of no known kind", "; set one field of it")),
        })
    }

    fn map(&mut self, entries: Vec<proto::Entry>, depth: usize) -> Result<Map, Problem> {
        let mut read = Vec::with_capacity(entries.len());
        for entry in entries {
            self.budget.nodes(1)?;
            let key = self.scalar(entry.key.and_then(|key| key.kind)).map_err(|_| bad_key())?;
            let key = into_key(key)?;
            self.path.push(Segment::Key(key.clone()));
            let value = self.value(entry.value.unwrap_or_default(), depth)?;
            self.path.pop();
            read.push((key, value));
        }
        Ok(Map::from_entries(read))
    }

    fn plain_list(&mut self, values: &[Value], depth: usize) -> Result<Vec<proto::Value>, Problem> {
        let mut items = Vec::with_capacity(values.len());
        for (index, value) in values.iter().enumerate() {
            self.path.push(Segment::Index(index + 1));
            items.push(self.plain(value, depth)?);
            self.path.pop();
        }
        Ok(items)
    }

    fn plain(&mut self, value: &Value, depth: usize) -> Result<proto::Value, Problem> {
        let kind = match value {
            Value::Nil => Kind::Nil(proto::Nil {}),
            Value::Bool(value) => Kind::Boolean(*value),
            Value::Int(value) => Kind::Integer(*value),
            Value::Float(value) => Kind::Number(*value),
            Value::Bytes(bytes) => plain_bytes(bytes),
            Value::List(items) => {
                self.budget.depth(depth)?;
                Kind::List(proto::List { items: self.plain_list(items, depth + 1)? })
            }
            Value::Map(map) => {
                self.budget.depth(depth)?;
                Kind::Map(proto::Map { entries: self.plain_entries(map, depth + 1)? })
            }
            Value::Function(_) => {
                return Err(unsendable("a function", " to an outside client"));
            }
        };
        Ok(proto::Value { kind: Some(kind) })
    }

    fn plain_entries(&mut self, map: &Map, depth: usize) -> Result<Vec<proto::Entry>, Problem> {
        let mut entries = Vec::with_capacity(map.len());
        for (key, value) in map {
            self.path.push(Segment::Key(key.clone()));
            let value = self.plain(value, depth)?;
            self.path.pop();
            entries.push(proto::Entry { key: Some(plain_key(key)?), value: Some(value) });
        }
        Ok(entries)
    }

    fn error(&self, root: &'static str, problem: Problem) -> ValueError {
        ValueError { path: Path::new(root, self.path.clone()), problem }
    }
}

fn into_key(value: Value) -> Result<Key, Problem> {
    match value {
        Value::Bool(value) => Ok(Key::Bool(value)),
        Value::Int(value) => Ok(Key::Int(value)),
        Value::Float(value) => Key::float(value).ok_or_else(bad_key),
        Value::Bytes(bytes) => Ok(Key::Bytes(bytes)),
        _ => Err(bad_key()),
    }
}

fn plain_key(key: &Key) -> Result<proto::Value, Problem> {
    let kind = match key {
        Key::Bool(value) => Kind::Boolean(*value),
        Key::Int(value) => Kind::Integer(*value),
        Key::Float(value) => Kind::Number(*value),
        Key::Bytes(bytes) => plain_bytes(bytes),
        _ => return Err(bad_key()),
    };
    Ok(proto::Value { kind: Some(kind) })
}

fn plain_bytes(bytes: &bytes::Bytes) -> Kind {
    match std::str::from_utf8(bytes) {
        Ok(text) => Kind::Text(text.to_owned()),
        Err(_) => Kind::Data(bytes.clone()),
    }
}

fn bad_key() -> Problem {
    Problem::Key { kind: "key that is nil, NaN or a container" }
}

fn unsendable(kind: &'static str, hint: &str) -> Problem {
    Problem::Unsendable { kind, hint: hint.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Nil),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            (-1e9..1e9f64).prop_map(Value::Float),
            prop::collection::vec(any::<u8>(), 0..8).prop_map(Value::bytes),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            let keys = prop_oneof![any::<i64>().prop_map(Key::Int), Just(Key::from("k"))];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::list),
                prop::collection::vec((keys, inner), 0..4)
                    .prop_map(|entries| Value::Map(Map::from_entries(entries))),
            ]
        })
    }

    fn nested(depth: usize) -> Value {
        (0..depth).fold(Value::Int(1), |inner, _| {
            Value::Map(Map::from_entries(vec![(Key::from("in"), inner)]))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn values_come_back_as_they_went(values in prop::collection::vec(any_value(), 0..4)) {
            let plain = to_plain("args", &values).unwrap();
            prop_assert_eq!(from_plain("args", plain, Limits::DEFAULT).unwrap(), values);
        }
    }

    #[test]
    fn the_deepest_value_that_is_sent_can_be_read() {
        let values = to_plain("results", &[nested(DEPTH)]).unwrap();
        let response = proto::SignalResponse {
            outcome: Some(proto::signal_response::Outcome::Results(proto::Results { values })),
        };
        let read = proto::SignalResponse::decode(response.encode_to_vec().as_slice());
        assert_eq!(read.unwrap(), response);
        let error = to_plain("results", &[nested(DEPTH + 1)]).unwrap_err();
        assert!(error.to_string().starts_with("results[1].in.in"), "{error}");
        assert!(error.to_string().ends_with("nested deeper than 32 levels"), "{error}");
    }

    #[test]
    fn what_is_past_a_limit_is_refused_with_its_path() {
        let limits = Limits { depth: 2, nodes: 10, bytes: 4 };
        let read = |value: &Value| {
            let plain = to_plain("args", std::slice::from_ref(value)).unwrap();
            from_plain("args", plain, limits).map_err(|error| error.to_string())
        };
        assert!(read(&nested(2)).is_ok());
        assert_eq!(read(&nested(3)).unwrap_err(), "args[1].in.in: nested deeper than 2 levels");
        let long = read(&Value::list([Value::Nil, Value::from("12345")])).unwrap_err();
        assert!(long.starts_with("args[1][2]: more than 4 bytes"), "{long}");
        let many = read(&Value::list(vec![Value::Nil; 20])).unwrap_err();
        assert!(many.contains("more than 10 values"), "{many}");
    }

    #[test]
    fn a_value_without_a_kind_is_refused() {
        let error = from_plain("args", vec![proto::Value::default()], Limits::DEFAULT).unwrap_err();
        let expected = "args[1]: a value of no known kind cannot be sent; set one field of it";
        assert_eq!(error.to_string(), expected);
    }
}
