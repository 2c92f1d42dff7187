//! What files mean, and that no text makes the reader panic.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use stage_node::config::{Config, LogFormat, Overrides, Palette, Refused, Route};
use stage_route::Tuning;

fn parse(text: &str) -> Config {
    Config::parse(text, Path::new("stage.json")).unwrap_or_else(|errors| panic!("{errors}"))
}

/// A folder with a configuration and the scripts it names.
fn folder(config: &str, scripts: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("stage.json"), config).expect("written");
    for script in scripts {
        std::fs::write(folder.path().join(script), "print(1)").expect("written");
    }
    folder
}

const EVERY_KEY: &str = r##"// Every key, none at its default.
{
  "$schema": "./stage.schema.json",
  "#node": { "name": "a", "listen": "0.0.0.0:7701", "insecure": true, "group": "rack1" },
  "#cluster": ["127.0.0.1:7702", "[::1]:7703", "Node-C:7704", "0.0.0.0:7701"],
  "#threads": 2,
  "#route": 2.5,
  "#ticket": { "login": 100, "odbc": 1e1, "lobby": -10, },
  "#snapshot": { "file": "state.snap", "names": ["SCORES", "_x1"], "every_ms": 100 },
  "#admin": { "listen": "127.0.0.1:7790", "token": "0123456789abcdef" },
  "#limits": {
    "mailbox": 10, "args_bytes": 2048, "args_depth": 8, "args_nodes": 1000,
    "ask_timeout_ms": 1, "drain_ms": 0, "handler_ms": 3,
    "quantum_ms": 7, "busy_ms": 8, "vm_memory_bytes": 16777216,
    "submit_per_key": 5, "submit_total": 6,
  },
  "#log": { "format": "json", "filter": "warn,stage_signal=debug" },
  "#startup": [
    { "stage": "lobby", "script": "lobby.lua", "instances": 2 },
    { "stage": "lua+shop", "script": "shop.lua" }, /* one */
  ],
}"##;

#[test]
fn every_key_is_read() {
    let folder = folder(EVERY_KEY, &["lobby.lua", "shop.lua"]);
    let config = Config::load(&folder.path().join("stage.json")).expect("a configuration");
    assert_eq!(config.node.name.as_str(), "a");
    assert_eq!(config.node.group.as_str(), "rack1");
    assert_eq!(config.node.listen, Some("0.0.0.0:7701".parse().expect("an address")));
    assert!(config.node.insecure);
    let snapshot = config.snapshot.as_ref().expect("a section");
    assert_eq!(snapshot.file, folder.path().join("state.snap"));
    assert_eq!(snapshot.names.as_deref(), Some(&["SCORES".to_owned(), "_x1".to_owned()][..]));
    assert_eq!(snapshot.every.as_millis(), 100);
    let peers: Vec<String> = config.cluster.iter().map(ToString::to_string).collect();
    assert_eq!(peers, ["127.0.0.1:7702", "[::1]:7703", "node-c:7704"]);
    assert_eq!((config.cluster[1].host(), config.cluster[1].port()), ("::1", 7703));
    assert_eq!(config.threads, 2);
    assert_eq!(config.route, Route::Sensitivity(2.5));
    let tickets = config.tickets.expect("categories");
    let tickets: Vec<_> = tickets.iter().map(|(name, limit)| (name.as_str(), *limit)).collect();
    assert_eq!(tickets, [("lobby", -10), ("login", 100), ("odbc", 10)]);
    let admin = config.admin.expect("a surface");
    assert_eq!(admin.listen.to_string(), "127.0.0.1:7790");
    assert_eq!(admin.token.as_ref().expect("a token").secret(), "0123456789abcdef");
    assert!(!format!("{admin:?}").contains("0123"));
    let limits = &config.limits;
    assert_eq!((limits.mailbox, limits.submit_per_key, limits.submit_total), (10, 5, 6));
    assert_eq!(limits.args(), stage_value::Limits { depth: 8, nodes: 1000, bytes: 2048 });
    let millis = [limits.ask_timeout, limits.drain, limits.handler, limits.quantum, limits.busy];
    assert_eq!(millis, [1, 0, 3, 7, 8].map(Duration::from_millis));
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.log.filter, "warn,stage_signal=debug");
    assert_eq!(config.startup[0].script, folder.path().join("lobby.lua"));
    assert_eq!(config.startup[0].instances, 2);
    assert_eq!((config.startup[1].stage.as_str(), config.startup[1].instances), ("shop", 1));
}

#[test]
fn a_file_that_says_nothing_gets_every_default_and_opens_no_port() {
    let config = parse(r##"{ "#startup": [] }"##);
    assert_eq!((config.node.listen, config.admin, config.tickets), (None, None, None));
    assert!(config.cluster.is_empty());
    assert!(config.threads >= 1);
    assert_eq!(config.route, Route::Sensitivity(8.0));
    assert!(config.node.name.as_str().ends_with(&std::process::id().to_string()));
    assert_eq!(config.limits.args(), stage_value::Limits::DEFAULT);
}

#[test]
fn an_empty_ticket_section_is_not_the_same_as_none() {
    assert!(parse(r##"{ "#ticket": {}, "#startup": [] }"##).tickets.is_some_and(|t| t.is_empty()));
}

#[test]
fn an_empty_admin_section_listens_at_the_default_address() {
    let config = parse(r##"{ "#admin": {}, "#startup": [] }"##);
    assert_eq!(config.admin.expect("a surface").listen.to_string(), "127.0.0.1:7780");
}

#[test]
fn route_zero_and_false_never_leave() {
    for route in ["0", "0.0", "-0", "false"] {
        let config = parse(&format!(r##"{{ "#route": {route}, "#startup": [] }}"##));
        assert_eq!(config.route, Route::Never, "{route}");
    }
}

#[test]
fn an_object_tunes_the_route_control_key_by_key() {
    let route = |object: &str| {
        let text = format!(r##"{{ "#route": {object}, "#startup": [] }}"##);
        Config::parse(&text, Path::new("x.json")).map(|config| config.route)
    };
    let tuned = route(r#"{ "sensitivity": 4, "hold_ms": 500, "patience": 20 }"#).expect("valid");
    let expected = Tuning {
        sensitivity: 4.0,
        hold: Duration::from_millis(500),
        patience: 20,
        ..Tuning::default()
    };
    assert_eq!(tuned, Route::Tuned(expected));
    assert_eq!(route("{}").expect("valid"), Route::Tuned(Tuning::default()));
    assert_eq!(route(r#"{ "sensitivity": 0 }"#).expect("valid"), Route::Never);
    for bad in [
        r#"{ "patience": 1.5 }"#,
        r#"{ "hold_ms": -1 }"#,
        r#"{ "jitter": 2 }"#,
        r#"{ "late": "2" }"#,
        r#"{ "hold": 2 }"#,
    ] {
        assert!(route(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_script_alone_is_one_stage_named_stage() {
    let config = Config::for_script("dir/main.lua");
    assert_eq!(config.startup.len(), 1);
    assert_eq!(config.startup[0].stage.as_str(), "stage");
    assert_eq!(config.startup[0].script, Path::new("dir/main.lua"));
    assert_eq!(config.startup[0].instances, 1);
    assert_eq!((config.node.listen, config.admin), (None, None));
}

#[test]
fn flags_win_over_the_file_under_the_same_rules() {
    let local = "127.0.0.1:1".parse().expect("an address");
    let open = "0.0.0.0:1".parse().expect("an address");
    let config = parse(r##"{ "#cluster": ["127.0.0.1:1", "127.0.0.1:2"], "#startup": [] }"##);
    let flags = Overrides {
        name: Some("b".parse().expect("a name")),
        listen: Some(local),
        admin: Some(local),
        log_format: Some(LogFormat::Json),
    };
    let overridden = config.clone().overridden(&flags).expect("allowed");
    assert_eq!(overridden.node.name.as_str(), "b");
    assert_eq!(overridden.node.listen, Some(local));
    assert_eq!(overridden.cluster.len(), 1, "its own address is no peer");
    assert_eq!(overridden.admin.expect("a surface").listen, local);
    assert_eq!(overridden.log.format, LogFormat::Json);

    let listen = Overrides { listen: Some(open), ..Overrides::default() };
    assert_eq!(config.clone().overridden(&listen), Err(Refused::Listen { address: open }));
    let admin = Overrides { admin: Some(open), ..Overrides::default() };
    assert_eq!(config.overridden(&admin), Err(Refused::Admin { address: open }));

    let allowed = parse(
        r##"{ "#node": { "insecure": true }, "#admin": { "token": "0123456789abcdef" },
              "#startup": [] }"##,
    );
    assert!(allowed.clone().overridden(&listen).is_ok());
    let admin = allowed.overridden(&admin).expect("allowed").admin.expect("a surface");
    assert!(admin.token.is_some(), "the token stays");
}

#[test]
fn documented_examples_parse_and_validate() {
    let schema = serde_json::to_value(stage_node::config::schema::schema()).expect("json");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let mut checked = 0;
    for page in ["../../docs/configuration.md", "../../docs/ko/configuration.md"] {
        let text = std::fs::read_to_string(page).expect(page);
        for example in text.split("```jsonc\n").skip(1) {
            let example = example.split("```").next().expect("an end");
            let files = ["main.lua", "lobby.lua", "shop.lua", "a.pem", "a.key", "ca.pem"];
            let folder = folder(example, &files);
            let loaded = Config::load(&folder.path().join("stage.json"));
            assert!(loaded.is_ok(), "{page}: {:?}", loaded.err());
            let json = to_json(example);
            assert!(validator.is_valid(&json), "{page}: {:?}", validator.validate(&json));
            checked += 1;
        }
    }
    assert!(checked >= 10, "{checked}");
    assert!(validator.is_valid(&to_json(EVERY_KEY)));
}

#[test]
fn the_schema_refuses_what_the_reader_refuses() {
    let schema = serde_json::to_value(stage_node::config::schema::schema()).expect("json");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    for text in [
        r##"{}"##,
        r##"{ "#startup": {} }"##,
        r##"{ "#startup": [], "#threads": 0 }"##,
        r##"{ "#startup": [], "#threads": 1.5 }"##,
        r##"{ "#startup": [], "#route": true }"##,
        r##"{ "#startup": [], "#route": -1 }"##,
        r##"{ "#startup": [], "#route": 1e9 }"##,
        r##"{ "#startup": [], "#ticket": { "a": 0 } }"##,
        r##"{ "#startup": [], "#ticket": { "a b": 1 } }"##,
        r##"{ "#startup": [], "#snapshot": {} }"##,
        r##"{ "#startup": [], "#db": { "open": { "url": "sqlite::memory:" } } }"##,
        r##"{ "#startup": [], "#db": { "a": {} } }"##,
        r##"{ "#startup": [], "#db": { "a": { "url": "sqlite::memory:", "connections": 0 } } }"##,
        r##"{ "#startup": [], "#snapshot": { "file": "a.snap", "names": ["*A"] } }"##,
        r##"{ "#startup": [], "#snapshot": { "file": "a.snap", "names": ["A", "A"] } }"##,
        r##"{ "#startup": [], "#snapshot": { "file": "a.snap", "every_ms": 1 } }"##,
        r##"{ "#startup": [], "#cluster": ["nowhere"] }"##,
        r##"{ "#startup": [], "#node": { "name": "" } }"##,
        r##"{ "#startup": [], "#node": { "nam": "a" } }"##,
        r##"{ "#startup": [], "#admin": { "token": "short" } }"##,
        r##"{ "#startup": [], "#gateway": { "origins": ["https://game.example/"] } }"##,
        r##"{ "#startup": [], "#log": { "format": "xml" } }"##,
        r##"{ "#startup": [{ "stage": "a" }] }"##,
    ] {
        assert!(!validator.is_valid(&to_json(text)), "the schema takes {text}");
        assert!(Config::parse(text, Path::new("stage.json")).is_err(), "the reader takes {text}");
    }
}

fn to_json(text: &str) -> serde_json::Value {
    let tree = jsonc_parser::parse_to_ast(text, &Default::default(), &Default::default());
    tree.expect("json").value.expect("a value").into()
}

/// Ways to damage a text: replace some bytes, or take a part out.
fn damaged() -> impl Strategy<Value = String> {
    let edits =
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..20_usize), 1..8);
    edits.prop_map(|edits| {
        let mut bytes = EVERY_KEY.as_bytes().to_vec();
        for (index, byte, cut) in edits {
            let at = index.index(bytes.len());
            bytes[at] = byte;
            bytes.drain(at + 1..(at + 1 + cut).min(bytes.len()));
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn survives(text: &str) {
    if let Err(errors) = Config::parse(text, Path::new("stage.json")) {
        assert!(errors.count() > 0);
        let report = errors.report(Palette::Plain);
        assert!(report.contains("stage.json"), "{report}");
        assert!(!report.contains("Failed to read contents"), "{report}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn no_damage_to_a_file_makes_the_reader_panic(text in damaged()) {
        survives(&text);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in any::<String>()) {
        survives(&text);
    }

    #[test]
    fn no_tokens_in_any_order_make_the_reader_panic(
        tokens in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"#startup\"", "\"#ticket\"", "\"stage\"", "1", "-1e999",
            "null", "true", "\n", "// x\n", "\"\\ud800\"", "\"한\"", "\u{feff}", "/*",
        ]), 0..40),
    ) {
        survives(&tokens.concat());
    }
}

#[test]
fn a_snapshot_is_refused_where_no_folder_could_hold_it() {
    let text = r##"{ "#startup": [], "#snapshot": { "file": "no such folder/a.snap" } }"##;
    let errors = Config::parse(text, Path::new("stage.json")).expect_err("an error");
    assert!(errors.to_string().contains("a file in a folder that is there"), "{errors}");
}

#[test]
fn keys_with_a_percent_sign_are_the_authors_own_whatever_they_hold() {
    let text = r##"{
      "%greeting": "hello", "%shop.v2": { "prices": [1, 2.5, null], "open": true },
      "#startup": []
    }"##;
    let config = Config::parse(text, Path::new("stage.json")).unwrap();
    let shown: Vec<_> =
        config.settings.iter().map(|(key, value)| format!("{key} {value:?}")).collect();
    assert_eq!(shown.len(), 2);
    assert!(shown[0].starts_with("%greeting ") && shown[0].contains("hello"), "{shown:?}");
    assert!(shown[1].contains("2.5") && shown[1].contains("true"), "{shown:?}");
}

#[test]
fn settings_that_scripts_could_not_have_are_refused_with_their_place() {
    let deep = format!("{}1{}", "[".repeat(33), "]".repeat(33));
    for (key, value) in [("%a", deep.as_str()), ("%a", "1e999"), ("%", "1"), ("%a b", "1")] {
        let text = format!("{{ {key:?}: {value}, \"#startup\": [] }}");
        let error = Config::parse(&text, Path::new("stage.json")).unwrap_err().to_string();
        assert!(error.contains("stage.json:1:"), "{key} {value}: {error}");
    }
    let text = format!("{{ \"%a\": {}1{}, \"#startup\": [] }}", "[".repeat(32), "]".repeat(32));
    assert!(Config::parse(&text, Path::new("stage.json")).is_ok());
}
