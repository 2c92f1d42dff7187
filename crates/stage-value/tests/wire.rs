//! The flat encoding: round trips, hostile bytes, limits.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use stage_value::wire::{DecodeProblem, decode, decode_data, decode_known, encode, encode_by_hash};
use stage_value::{Capture, Function, FunctionHash, Key, Limits, Map, Problem, Prototype, Value};

fn key() -> impl Strategy<Value = Key> {
    prop_oneof![
        any::<bool>().prop_map(Key::Bool),
        any::<i64>().prop_map(Key::Int),
        any::<f64>().prop_filter_map("NaN", Key::float),
        any::<Vec<u8>>().prop_map(Key::bytes),
    ]
}

fn function(inner: impl Strategy<Value = Value> + Clone) -> impl Strategy<Value = Value> {
    let capture = prop_oneof![
        3 => inner.prop_map(Capture::Value),
        1 => Just(Capture::Itself),
        1 => Just(Capture::Environment),
        1 => "[a-z.]{1,8}".prop_map(|name| Capture::Library(name.into())),
    ];
    (any::<Vec<u8>>(), any::<u32>(), proptest::collection::vec(("[a-z]{1,4}", capture), 0..4))
        .prop_map(|(text, line, captures)| {
            let (names, captures) =
                captures.into_iter().map(|(name, capture)| (Arc::from(name), capture)).unzip();
            let prototype = Prototype::new(text.into(), "main.lua".into(), line, names);
            Value::Function(Function::new(Arc::new(prototype), captures).unwrap())
        })
}

fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        proptest::num::f64::NORMAL.prop_map(Value::Float),
        any::<Vec<u8>>().prop_map(Value::bytes),
    ];
    scalar.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::list),
            proptest::collection::vec((key(), inner.clone()), 0..8)
                .prop_map(|entries| Value::Map(Map::from_entries(entries))),
            function(inner),
        ]
    })
}

proptest! {
    #[test]
    fn every_message_decodes_to_what_was_encoded(values in proptest::collection::vec(value(), 0..5)) {
        prop_assert_eq!(decode(&encode(&values), &Limits::DEFAULT).unwrap(), values);
    }

    #[test]
    fn functions_by_hash_decode_to_what_was_encoded_if_their_code_is_known(
        values in proptest::collection::vec(value(), 0..5),
    ) {
        let (message, functions) = encode_by_hash(&values);
        let known = |hash: &FunctionHash| functions.iter().find(|f| f.hash() == *hash).cloned();
        prop_assert_eq!(&decode_known(&message, &Limits::DEFAULT, &known).unwrap(), &values);
        let unknown = decode_known(&message, &Limits::DEFAULT, &|_| None);
        prop_assert_eq!(unknown.is_err(), !functions.is_empty());
        // A receiver that takes only what is written out takes no hash.
        prop_assert_eq!(decode(&message, &Limits::DEFAULT).is_err(), !functions.is_empty());
    }

    #[test]
    fn any_bytes_decode_or_fail_within_the_message(bytes in any::<Vec<u8>>()) {
        let message = Bytes::from(bytes);
        for decoded in [
            decode(&message, &Limits::DEFAULT),
            decode_known(&message, &Limits::DEFAULT, &any_code),
        ] {
            if let Err(error) = decoded {
                prop_assert!(error.offset <= message.len());
            }
        }
    }

    #[test]
    fn a_damaged_message_never_decodes_past_its_end(
        values in proptest::collection::vec(value(), 1..4),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = encode(&values).to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = decode(&Bytes::from(bytes.clone()), &Limits::DEFAULT);
        let _ = decode_known(&Bytes::from(bytes.clone()), &Limits::DEFAULT, &any_code);
        bytes.truncate(at);
        prop_assert!(decode(&Bytes::from(bytes), &Limits::DEFAULT).is_err());
    }
}

/// A receiver that has code of one capture for any hash.
fn any_code(_: &FunctionHash) -> Option<Arc<Prototype>> {
    let names = vec!["x".into()];
    Some(Arc::new(Prototype::new("function() end".into(), "main.lua".into(), 1, names)))
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(Value::Int(1), |inner, _| Value::list([inner]))
}

#[test]
fn the_deepest_allowed_tree_decodes_and_the_next_does_not() {
    let limits = Limits::DEFAULT;
    assert!(decode(&encode(&[nested(64)]), &limits).is_ok());
    let error = decode(&encode(&[nested(65)]), &limits).unwrap_err();
    assert_eq!(error.problem, DecodeProblem::Limit(Problem::TooDeep { limit: 64 }));
}

#[test]
fn limits_on_nodes_and_bytes_hold() {
    let limits = Limits { depth: 4, nodes: 10, bytes: 10 };
    let many = encode(&[Value::list((0..10).map(Value::Int))]);
    let error = decode(&many, &limits).unwrap_err();
    assert_eq!(error.problem, DecodeProblem::Limit(Problem::TooManyNodes { limit: 10 }));
    let long = encode(&[Value::from("12345"), Value::from("678901")]);
    let error = decode(&long, &limits).unwrap_err();
    assert_eq!(error.problem, DecodeProblem::Limit(Problem::TooManyBytes { limit: 10 }));
}

#[test]
fn a_claimed_length_beyond_the_message_is_refused_before_any_allocation() {
    let claims_4_gib = [1, 5, 0xff, 0xff, 0xff, 0xff, 0x0f, b'x'];
    let error = decode(&Bytes::copy_from_slice(&claims_4_gib), &Limits::DEFAULT).unwrap_err();
    assert_eq!(error.problem, DecodeProblem::Truncated);
    let overlong_varint = [0xff; 16];
    let error = decode(&Bytes::copy_from_slice(&overlong_varint), &Limits::DEFAULT).unwrap_err();
    assert_eq!(error.problem, DecodeProblem::Number);
}

#[test]
fn a_function_is_found_wherever_it_stands_if_none_is_taken() {
    let prototype = Prototype::new("function() end".into(), "main.lua".into(), 1, Vec::new());
    let function = Value::Function(Function::new(Arc::new(prototype), Vec::new()).unwrap());
    for tree in [function.clone(), Value::list(vec![Value::Nil, Value::list(vec![function])])] {
        let message = encode(&[tree]);
        assert!(decode(&message, &Limits::DEFAULT).is_ok());
        let error = decode_data(&message, &Limits::DEFAULT).unwrap_err();
        assert_eq!(error.problem, DecodeProblem::Function);
    }
    let data = [Value::Int(8), Value::from("function")];
    assert_eq!(decode_data(&encode(&data), &Limits::DEFAULT).unwrap(), data);
}

#[test]
fn equal_maps_encode_to_equal_bytes() {
    let forward = Map::from_entries(vec![("a".into(), 1.into()), ("b".into(), 2.into())]);
    let backward = Map::from_entries(vec![("b".into(), 2.into()), ("a".into(), 1.into())]);
    assert_eq!(encode(&[forward.into()]), encode(&[backward.into()]));
}

#[test]
fn the_hash_of_a_function_tells_text_place_and_names_apart() {
    let hash = |text: &'static str, chunk: &str, line, names: &[&str]| {
        let names = names.iter().map(|name| Arc::from(*name)).collect();
        Prototype::new(text.into(), chunk.into(), line, names).hash()
    };
    let all = [
        hash("function() end", "a", 1, &[]),
        hash("function()  end", "a", 1, &[]),
        hash("function() end", "b", 1, &[]),
        hash("function() end", "a", 2, &[]),
        hash("function() end", "a", 1, &["x"]),
        hash("function() end", "a", 1, &["x", "y"]),
        hash("function() end", "a", 1, &["xy"]),
    ];
    let distinct: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len());
    assert_eq!(hash("function() end", "a", 1, &[]), all[0]);
}
