//! Maps, keys, paths and JSON.

use proptest::prelude::*;
use stage_value::{Key, Map, Path, Segment, Value};

proptest! {
    #[test]
    fn a_map_finds_what_a_btreemap_of_the_same_entries_finds(
        entries in proptest::collection::vec((-8i64..8, any::<i64>()), 0..32)
    ) {
        let model: std::collections::BTreeMap<_, _> = entries.iter().copied().collect();
        let map: Map = entries.iter().map(|(k, v)| (Key::Int(*k), Value::Int(*v))).collect();
        prop_assert_eq!(map.len(), model.len());
        for key in -9..9 {
            let expected = model.get(&key).copied().map(Value::Int);
            prop_assert_eq!(map.find(&Key::Int(key)).cloned(), expected);
        }
    }

    #[test]
    fn any_float_key_keeps_its_number(value in any::<f64>()) {
        match Key::float(value) {
            None => prop_assert!(value.is_nan()),
            Some(Key::Int(int)) => prop_assert_eq!(int as f64, value),
            Some(Key::Float(float)) => prop_assert_eq!(float.to_bits(), value.to_bits()),
            Some(other) => prop_assert!(false, "{:?}", other),
        }
    }
}

#[test]
fn a_path_reads_like_lua() {
    let path = Path::new(
        "args",
        vec![
            Segment::Index(2),
            Segment::Key("owner".into()),
            Segment::Key("two words".into()),
            Segment::Key(Key::Int(7)),
            Segment::Upvalue("db".into()),
        ],
    );
    assert_eq!(path.to_string(), "args[2].owner[\"two words\"][7] upvalue 'db'");
}

#[cfg(feature = "json")]
#[test]
fn json_round_trips_and_refuses_what_it_has_not() {
    use stage_value::json::{from_json, to_json};
    let text = r#"{"list":[1,2.5,null,true,"한글"],"nested":{"a":{}}}"#;
    let json: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!(to_json(&from_json(json.clone())).unwrap(), json);
    let infinite = to_json(&Value::Float(f64::INFINITY)).unwrap_err();
    assert_eq!(infinite.to_string(), "JSON has no number that is not finite");
    assert!(to_json(&Value::bytes([0xff])).is_err());
}
