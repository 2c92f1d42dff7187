//! The text of errors, as people read it.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::path::Path;

use stage_node::config::{Config, ConfigErrors, Palette, ProblemKind};

fn errors(text: &str) -> ConfigErrors {
    Config::parse(text, Path::new("stage.json")).expect_err("an error")
}

fn report(text: &str) -> String {
    errors(text).report(Palette::Plain)
}

#[test]
fn five_errors_are_reported_in_one_go_and_in_the_order_of_the_file() {
    insta::assert_snapshot!(report(
        r##"{
  "#node":    { "name": "node a", "listen": "0.0.0.0:7701" },
  "#cluster": ["127.0.0.1"],
  "#threads": "two",    // a word
  "#tickets": { "login": 100 },
  "#startup": [],
}"##
    ));
}

#[test]
fn an_unknown_key_brings_the_nearest_one_or_all_of_them() {
    insta::assert_snapshot!(report(
        r##"{
  "#startup": [],
  "startup": [],
  "#limits": { "mailbocks": 1, "asktimeout_ms": 2, "colour": "red" }
}"##
    ));
}

#[test]
fn numbers_out_of_range_are_shown_with_their_range() {
    insta::assert_snapshot!(report(
        r##"{
  "#threads": 0,
  "#route": -1,
  "#ticket": { "login": 0, "odbc": 1.5, "bad name": 1, "lobby": 99999999999999999999 },
  "#startup": []
}"##
    ));
}

#[test]
fn missing_and_repeated_keys_stages_and_peers_are_reported() {
    insta::assert_snapshot!(report(
        r##"{
  "#cluster": ["node-b:7701", "NODE-B:7701"],
  "#threads": 2,
  "#threads": 3,
  "#startup": [
    { "stage": "lobby" },
    { "stage": "ticket", "script": "no/such.lua" }
  ]
}"##
    ));
    insta::assert_snapshot!(report("{}"));
}

#[test]
fn what_opens_a_node_to_other_machines_is_refused_with_the_reason() {
    insta::assert_snapshot!(report(
        r##"{
  "#node": { "listen": "[::]:7701" },
  "#admin": { "listen": "10.0.0.5:7780" },
  "#startup": []
}"##
    ));
}

#[test]
fn a_log_filter_and_a_token_are_checked() {
    insta::assert_snapshot!(report(
        r##"{
  "#admin": { "token": "secret" },
  "#log": { "format": "jsn", "filter": "inof,stage_signal=debug" },
  "#startup": []
}"##
    ));
}

#[test]
fn text_that_is_not_json_is_shown_where_it_stops_being_json() {
    for (name, text) in [
        ("comma", "{\n  \"#threads\": 2\n  \"#startup\": []\n}"),
        ("quotes", "{ '#threads': 2 }"),
        ("word", "{ \"#threads\": two }"),
        ("open", "{\n  \"#startup\": [\n"),
        ("string", "{ \"#startup"),
        ("second", "{} {}"),
        ("deep", &"[".repeat(600)),
    ] {
        insta::assert_snapshot!(name, report(text));
    }
}

#[test]
fn a_file_without_an_object_is_refused() {
    insta::assert_snapshot!("nothing", report("// only a comment\n"));
    insta::assert_snapshot!("list", report("[]"));
}

#[test]
fn the_short_form_has_file_line_and_column() {
    insta::assert_snapshot!(
        errors("{\n  \"#threads\": \"two\",\n  \"#startup\": 1\n}").to_string()
    );
}

#[test]
fn a_report_is_short_however_long_the_line() {
    let peers = "\"127.0.0.1:7702\", ".repeat(20_000);
    let text = report(&format!(r##"{{ "#threads": 0, "#startup": [{peers}] }}"##));
    assert!(text.lines().all(|line| line.len() < 250), "{text}");
    assert!(text.len() < 64 * 1024, "{}", text.len());
}

#[test]
fn problems_beyond_the_first_64_are_counted() {
    let keys: Vec<String> = (0..1000).map(|n| format!("\"key{n}\": {n}")).collect();
    let errors = errors(&format!("{{ {} }}", keys.join(",\n")));
    assert_eq!(errors.problems().len(), 64);
    assert_eq!(errors.count(), 1001);
    assert!(errors.to_string().ends_with("1001 problems, the first 64 are shown"));
}

#[test]
fn a_file_cannot_steer_the_terminal_through_its_errors() {
    let text =
        report("{ \"#threads\u{1b}[31m\": 2,\r\n \"#log\": \"\u{9b}2J\", \"#startup\": [] }");
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
}

#[test]
fn columns_count_characters_and_a_byte_order_mark_is_not_one() {
    let text = "\u{feff}{ \"#node\": { \"name\": \"한국\", \"group\": 1 }, \"#startup\": [] }";
    assert!(errors(text).to_string().starts_with("stage.json:1:37: "), "{}", errors(text));
}

#[test]
fn files_that_cannot_be_read_as_text_are_refused_before_they_are_parsed() {
    let folder = tempfile::tempdir().expect("a folder");
    let load = |name: &str| Config::load(&folder.path().join(name)).expect_err("an error");
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.path().join(name), bytes).expect("written");
    };

    let missing = load("missing.json");
    assert!(matches!(missing.problems()[0].kind(), ProblemKind::Unreadable(_)));
    assert!(missing.to_string().contains("missing.json: the configuration cannot be read"));

    write("huge.json", &vec![b' '; (1 << 20) + 1]);
    assert!(matches!(load("huge.json").problems()[0].kind(), ProblemKind::TooLarge { .. }));

    write("latin1.json", b"{ \"#node\": \"\xe9\" }");
    assert!(matches!(load("latin1.json").problems()[0].kind(), ProblemKind::NotText { at: 12 }));

    assert!(matches!(load("").problems()[0].kind(), ProblemKind::Unreadable(_)));
}

#[test]
fn a_device_without_end_is_not_read_to_its_end() {
    let endless = Path::new("/dev/zero");
    if endless.exists() {
        let errors = Config::load(endless).expect_err("an error");
        assert!(matches!(errors.problems()[0].kind(), ProblemKind::TooLarge { .. }));
    }
}

#[test]
fn nodes_that_are_found_by_a_name_need_to_know_who_counts_tickets() {
    insta::assert_snapshot!(report(
        r##"{ "#cluster": ["dns:nodes:7701", "dns:nodes"], "#startup": [] }"##
    ));
}

#[test]
fn rules_without_certificates_and_certificates_that_are_not_there_are_refused() {
    insta::assert_snapshot!(report(
        r##"{
  "#node": { "tls": { "cert": "a.pem", "key": "a.key" } },
  "#allow": { "web*s": { "signal": ["lobby", "not a stage"], "shout": true }, "web": { "signal": "*" } },
  "#startup": []
}"##
    ));
    insta::assert_snapshot!(report(
        r##"{
  "#allow": { "web": { "signal": ["*"] } },
  "#startup": []
}"##
    ));
}

#[cfg(feature = "db")]
#[test]
fn databases_are_checked_as_far_as_their_addresses_go() {
    insta::assert_snapshot!(report(
        r##"{
  "#ticket": { "login": 10, "hurried": -2 },
  "#db": {
    "open": { "url": "sqlite::memory:" },
    "a b": { "url": "sqlite::memory:" },
    "one": { "url": "oracle://x" },
    "two": { "url": "postgres://u:secret@host:port/x", "connection": 3 },
    "three": { "connections": 0 },
    "four": { "url": "env:NO_SUCH_VARIABLE_IS_SET", "timeout_ms": 1 },
    "five": { "url": "sqlite:a.db", "ticket": "missing" },
    "six": { "url": "sqlite:a.db", "ticket": "hurried" }
  },
  "#startup": []
}"##
    ));
}

#[test]
fn an_origin_is_written_as_browsers_send_it() {
    for wrong in ["https://Game.example", "https://game.example/", "game.example", "https://", "*"]
    {
        let text = format!("{{ \"#gateway\": {{ \"origins\": [\"{wrong}\"] }} }}");
        assert!(report(&text).contains("is not an origin such as"), "{wrong}: {}", report(&text));
    }
    let text = r##"{ "#startup": [], "#gateway": { "origins": ["http://[::1]:8080"] } }"##;
    assert!(Config::parse(text, Path::new("stage.json")).is_ok());
}
