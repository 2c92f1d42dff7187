//! Maps, keys, paths and JSON.

use std::collections::BTreeMap;

use proptest::prelude::*;
use stage_value::{Budget, Key, Limits, Map, Path, Segment, Value, wire};

fn made_of(model: &BTreeMap<i64, i64>) -> Map {
    model.iter().map(|(key, value)| (Key::Int(*key), Value::Int(*value))).collect()
}

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
    fn a_changed_map_is_what_a_changed_btreemap_is(
        size in prop_oneof![0i64..16, 120i64..400],
        changes in proptest::collection::vec((-9i64..410, any::<Option<i64>>()), 1..16),
    ) {
        let mut model: BTreeMap<i64, i64> = (0..size).map(|n| (n, n)).collect();
        let mut map = made_of(&model);
        for (key, value) in changes {
            let (before, model_before) = (map.clone(), model.clone());
            match value {
                Some(value) => model.insert(key, value),
                None => model.remove(&key),
            };
            map = map.with(Key::Int(key), value.map(Value::Int));
            prop_assert_eq!(&map, &made_of(&model));
            prop_assert_eq!(before, made_of(&model_before));
            prop_assert_eq!(map.len(), model.len());
            prop_assert_eq!(map.iter().len(), model.len());
            prop_assert_eq!(map.find(&Key::Int(key)).cloned(), value.map(Value::Int));
            let behind = model.range(key + 1..).next().map(|(k, v)| (Key::Int(*k), Value::Int(*v)));
            let found = map.entry_after(Some(&Key::Int(key))).map(|(k, v)| (k.clone(), v.clone()));
            prop_assert_eq!(found, behind);
            let first = model.keys().next().copied().map(Key::Int);
            prop_assert_eq!(map.entry_after(None).map(|(key, _)| key.clone()), first);
        }
    }

    #[test]
    fn a_changed_list_has_the_entries_that_a_changed_map_has(
        items in proptest::collection::vec(any::<i64>(), 0..6),
        key in -1i64..8,
        value in any::<Option<i64>>(),
    ) {
        let list = Value::list(items.iter().copied().map(Value::Int));
        let map = Value::Map((1..).map(Key::Int).zip(items.into_iter().map(Value::Int)).collect());
        let value = value.map_or(Value::Nil, Value::Int);
        let list = list.with_entry(Key::Int(key), value.clone()).unwrap();
        let map = map.with_entry(Key::Int(key), value).unwrap();
        for key in -2..9 {
            prop_assert_eq!(list.entry(&Key::Int(key)), map.entry(&Key::Int(key)));
        }
    }

    #[test]
    fn a_key_of_bytes_is_found_as_by_its_key(
        entries in proptest::collection::vec(("[a-c]{0,2}", any::<i64>()), 0..16),
        numbers in proptest::collection::vec(any::<i64>(), 0..4),
        wanted in "[a-c]{0,2}",
    ) {
        let texts = entries.iter().map(|(k, v)| (Key::bytes(k), Value::Int(*v)));
        let map: Map = texts.chain(numbers.iter().map(|n| (Key::Int(*n), Value::Nil))).collect();
        prop_assert_eq!(map.find_bytes(wanted.as_bytes()), map.find(&Key::bytes(&wanted)));
        let mut large = (0..200).map(|n| (Key::Int(n), Value::Nil)).collect::<Map>();
        for (key, value) in &map {
            large = large.with(key.clone(), Some(value.clone()));
        }
        prop_assert_eq!(large.find_bytes(wanted.as_bytes()), map.find_bytes(wanted.as_bytes()));
    }

    #[test]
    fn a_budget_charges_a_value_as_decoding_it_does(
        items in proptest::collection::vec(any::<Vec<u8>>(), 0..8),
        nodes in 0usize..24,
        bytes in 0usize..200,
    ) {
        let list = Value::list(items.iter().map(Value::bytes));
        let map = Value::Map([(Key::from("k"), list)].into_iter().collect());
        let limits = Limits { depth: 8, nodes, bytes };
        let charged = Budget::new(limits).value(&map, 0);
        let decoded = wire::decode(&wire::encode(&[map]), &limits);
        prop_assert_eq!(charged.is_ok(), decoded.is_ok());
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
