use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use super::schema;
use crate::config::{
    Config, ProblemKind, admin, allow, db, etcd, gateway, limits, log, node, parse, reload,
    snapshot, startup, tls,
};

#[test]
fn the_schema_has_exactly_the_keys_that_the_reader_knows() {
    let schema = schema().to_value();
    for (pointer, keys) in [
        ("", parse::KEYS),
        ("/$defs/Node", node::KEYS),
        ("/$defs/Tls", tls::KEYS),
        ("/$defs/Allow", allow::KEYS),
        ("/$defs/Etcd", etcd::KEYS),
        ("/$defs/Database", db::KEYS),
        ("/$defs/Snapshot", snapshot::KEYS),
        ("/$defs/Reload", reload::KEYS),
        ("/$defs/Admin", admin::KEYS),
        ("/$defs/Gateway", gateway::KEYS),
        ("/$defs/GatewayToken", gateway::TOKEN_KEYS),
        ("/$defs/Limits", limits::KEYS),
        ("/$defs/Log", log::KEYS),
        ("/$defs/Startup", startup::KEYS),
    ] {
        let section = schema.pointer(pointer).expect(pointer);
        let described: BTreeSet<&str> =
            section["properties"].as_object().expect(pointer).keys().map(String::as_str).collect();
        assert_eq!(described, keys.iter().copied().collect(), "{pointer}");
        assert_eq!(section["additionalProperties"], json!(false), "{pointer}");
    }
}

#[test]
fn the_reader_has_exactly_the_ranges_of_the_schema() {
    let mut checked = 0;
    for (path, property) in integers() {
        let (least, most) = (bound(&property, "minimum"), bound(&property, "maximum"));
        for (value, allowed) in [(least, true), (most, true), (least - 1, false), (most + 1, false)]
        {
            let errors = Config::parse(&file(&path, &json!(value)), Path::new("stage.json"));
            let refused = errors.is_err_and(|errors| {
                let is_range = |kind: &ProblemKind| matches!(kind, ProblemKind::OutOfRange { .. });
                errors.problems().iter().any(|problem| is_range(problem.kind()))
            });
            assert_eq!(refused, !allowed, "{path:?} = {value}");
        }
        checked += 1;
    }
    assert_eq!(checked, limits::KEYS.len() + 6);
}

#[test]
fn a_key_at_its_default_is_the_same_as_no_key() {
    let schema = schema().to_value();
    let absent = Config::parse(r##"{ "#startup": [] }"##, Path::new("stage.json"));
    let absent = absent.expect("the least file");
    for (section, definition) in [("#limits", "Limits"), ("#log", "Log"), ("#node", "Node")] {
        let properties = schema["$defs"][definition]["properties"].as_object().expect(section);
        for (key, property) in properties {
            let Some(default) = property.get("default").filter(|default| !default.is_null()) else {
                continue;
            };
            let text = json!({ "#startup": [], section: { key: default } }).to_string();
            let present = Config::parse(&text, Path::new("stage.json"));
            assert_eq!(present.expect(key), absent, "{section}.{key}");
        }
    }
}

#[test]
fn the_documentation_has_every_limit_with_its_range_and_default() {
    let schema = schema().to_value();
    for (page, to) in [("configuration.md", " to "), ("ko/configuration.md", "~")] {
        let text = std::fs::read_to_string(format!("../../docs/{page}")).expect(page);
        for key in limits::KEYS {
            let property = &schema["$defs"]["Limits"]["properties"][key];
            let (least, most) = (bound(property, "minimum"), bound(property, "maximum"));
            let default = bound(property, "default");
            let row = format!("| `{key}` | {least}{to}{most} | {default} | ");
            assert!(text.contains(&row), "{page} has no row {row}");
        }
        for key in parse::KEYS
            .iter()
            .chain(node::KEYS)
            .chain(admin::KEYS)
            .chain(db::KEYS)
            .chain(gateway::KEYS)
            .chain(log::KEYS)
            .chain(tls::KEYS)
            .chain(allow::KEYS)
        {
            assert!(text.contains(key), "{page} does not have {key}");
        }
    }
}

/// Every integer of the schema with the path of keys that leads to it.
fn integers() -> Vec<(Vec<&'static str>, Value)> {
    let schema = schema().to_value();
    let property =
        |definition: &str, key: &str| schema["$defs"][definition]["properties"][key].clone();
    let mut all: Vec<_> =
        limits::KEYS.iter().map(|&key| (vec!["#limits", key], property("Limits", key))).collect();
    for key in ["rate", "body_bytes", "connections", "in_flight"] {
        all.push((vec!["#gateway", key], property("Gateway", key)));
    }
    all.push((vec!["#threads"], schema["properties"]["#threads"].clone()));
    all.push((vec!["#startup", "instances"], property("Startup", "instances")));
    all
}

fn bound(property: &Value, key: &str) -> i64 {
    property[key].as_i64().unwrap_or_else(|| panic!("{key} of {property}"))
}

fn file(path: &[&'static str], value: &Value) -> String {
    match path {
        ["#startup", key] => json!({ "#startup": [{ *key: value }] }),
        [section, key] => json!({ "#startup": [], *section: { *key: value } }),
        [key] => json!({ "#startup": [], *key: value }),
        _ => unreachable!("paths have one or two keys"),
    }
    .to_string()
}
