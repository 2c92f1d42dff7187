//! One node and one script.

use crate::harness::{Folder, Node, finish, free_port, stderr, stdout};

/// The code of the FAQ, as it stands there.
const FAQ: &str = r#"
stage.waitfor("login_callback", function (a) print("LOGIN_CALLBACK", a) end)
stage.signal("ticket:login=login_callback", "CHECK")

local function run(v) print("THREAD RUN", v) sleep(2) end
stage.submit(1234, run, "HELLO")
stage.submit(0, run, "RUN")          -- runs at once
stage.submit(1234, run, "WORLD")     -- runs when HELLO has ended

stage.waitfor("result", function (r) print("RESULT:", r) end)
stage.signal("stage:callback=result", function (v)
    print("THREAD RUN", v)
    return "RESULT:" .. v
end, "HELLO")
"#;

#[test]
fn the_code_of_the_faq_runs_as_it_is_written() {
    let folder = Folder::new();
    let script = folder.write("faq.lua", FAQ);
    let output = finish(&["run", script.to_str().unwrap(), "--for", "5s"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    let mut lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.last(), Some(&"THREAD RUN\tWORLD"));
    lines.sort_unstable();
    let expected = [
        "LOGIN_CALLBACK\tCHECK",
        "RESULT:\tRESULT:HELLO",
        "THREAD RUN\tHELLO",
        "THREAD RUN\tHELLO",
        "THREAD RUN\tRUN",
        "THREAD RUN\tWORLD",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn the_tour_shows_all_five_means_and_no_error() {
    let tour = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/tour/main.lua");
    let output = finish(&["run", tour, "--for", "8s"]);
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    for expected in [
        "== 1. Snapshot",
        "after its wait, still: kim has 100, lee has 50",
        "refreshed:             kim has 70, lee has 80",
        "THREAD RUN\tWORLD",
        "park logs in; 1 at once",
        "RESULT:\tRESULT:HELLO",
        "joined -> held",
        "That was the tour",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in:\n{text}");
    }
    assert!(!stderr(&output).contains("ERROR"), "{}", stderr(&output));
}

#[test]
fn a_syntax_error_ends_the_start_with_file_line_and_reason() {
    let folder = Folder::new();
    let script = folder.write("bad.lua", "print('never')\nlocal function f(\n)) end\n");
    let script = script.to_str().unwrap();
    let output = finish(&["run", script]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), "");
    let expected = format!("error: {script}:3: unexpected symbol near ')'\n");
    assert_eq!(stderr(&output), expected);
}

#[test]
fn an_error_in_the_script_ends_the_start_with_a_traceback() {
    let folder = Folder::new();
    let script = folder.write("bad.lua", "local function f() error('boom') end\nf()\n");
    let output = finish(&["run", script.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let error = stderr(&output);
    assert!(
        error.contains("bad.lua:1: boom") && error.contains("bad.lua:2: in main chunk"),
        "{error}"
    );
}

#[test]
fn a_missing_script_and_a_bad_configuration_are_usage_errors() {
    let output = finish(&["run", "no-such.lua"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("cannot read the script no-such.lua"), "{}", stderr(&output));

    let folder = Folder::new();
    let config = folder.write(
        "stage.json",
        r##"{
  "#node": { "nmae": "a", "listen": "nowhere" },
  "#threads": 0,
  "#route": -1,
  "#ticket": { "login": "many" },
  "#startup": []
}"##,
    );
    let output = finish(&["run", "--config", config.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let error = stderr(&output);
    for expected in ["nmae", "did you mean `name`?", "nowhere", "#threads", "#route", "login"] {
        assert!(error.contains(expected), "{expected:?} is not in:\n{error}");
    }
}

#[test]
fn a_port_in_use_is_named_with_the_key_that_changes_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = Folder::new();
    let script = folder.write("main.lua", "print('never')");
    let output = finish(&["run", script.to_str().unwrap(), "--listen", &address]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), "");
    let error = stderr(&output);
    assert!(error.contains(&format!("cannot listen on {address}")), "{error}");
    assert!(error.contains("#node.listen or --listen"), "{error}");
}

#[test]
fn sigterm_lets_running_handlers_finish() {
    let folder = Folder::new();
    let script = folder.write(
        "main.lua",
        "stage.waitfor('work', function() print('begun') sleep(0.5) print('finished') end)\n\
         stage.signal('work')\n\
         stage.submit(5, function() sleep(0.5) print('job finished') end)",
    );
    let mut node = Node::start(&["run", script.to_str().unwrap()]);
    node.wait_for("begun");
    // From then on a signal ends a node that serves, and not its start.
    node.wait_for_log("takes no signals");
    node.signal("TERM");
    let (code, mut lines) = node.end();
    lines.sort();
    assert_eq!((code, lines), (Some(0), vec!["finished".to_owned(), "job finished".to_owned()]));
}

#[test]
fn a_script_that_never_waits_does_not_hold_up_the_end() {
    let folder = Folder::new();
    let config = folder.write(
        "stage.json",
        r##"{ "#limits": { "drain_ms": 100 }, "#startup": [ { "stage": "s", "script": "main.lua" } ] }"##,
    );
    folder.write("main.lua", "stage.waitfor('spin', function() print('spins') while true do end end) stage.signal('spin')");
    let mut node = Node::start(&["run", "--config", config.to_str().unwrap()]);
    node.wait_for("spins");
    node.signal("INT");
    assert_eq!(node.end().0, Some(0));
}

#[test]
fn a_script_that_never_finishes_loading_can_be_stopped() {
    let folder = Folder::new();
    let script = folder.write("main.lua", "print('loads') while true do end");
    let mut node = Node::start(&["run", script.to_str().unwrap()]);
    node.wait_for("loads");
    node.signal("TERM");
    assert_eq!(node.end().0, Some(0));
    let output = finish(&["run", script.to_str().unwrap(), "--for", "200ms"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).contains("before all scripts had started"), "{}", stderr(&output));
}

#[test]
fn an_unlisted_ticket_category_is_reported_and_the_node_goes_on() {
    let folder = Folder::new();
    let config = folder.write(
        "stage.json",
        r##"{ "#ticket": { "login": 2 }, "#startup": [ { "stage": "s", "script": "main.lua" } ] }"##,
    );
    folder.write(
        "main.lua",
        "stage.waitfor('in', function(v) print('in', v) end)\n\
         stage.waitfor('told', function(ok, why) print(ok, why) end)\n\
         stage.signal('ticket:logni=in?told', 1)\n\
         stage.signal('ticket:login=in', 2)",
    );
    let mut node = Node::start(&["run", "--config", config.to_str().unwrap()]);
    let mut lines = [node.next_line(), node.next_line()];
    lines.sort();
    let [refusal, entered] = lines;
    assert!(refusal.starts_with("false\t"), "{refusal}");
    assert!(refusal.contains("logni") && refusal.contains("login"), "{refusal}");
    assert_eq!(entered, "in\t2");
    node.wait_for_log("takes no signals");
    node.signal("TERM");
    assert_eq!(node.end(), (Some(0), vec![]));
}

#[test]
fn the_log_is_json_when_asked_for() {
    let folder = Folder::new();
    let script = folder.write("main.lua", "logger.warn('low', 5)");
    let listen = format!("127.0.0.1:{}", free_port());
    let script = script.to_str().unwrap();
    let mut node = Node::start(&["run", script, "--log-format", "json", "--listen", &listen]);
    let json = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
    let warning = json(&node.wait_for_log("WARN"));
    json(&node.wait_for_log("takes signals"));
    node.unread().lines().for_each(|line| drop(json(line)));
    assert_eq!(warning["message"], "low\t5");
    assert_eq!(warning["stage"], "stage");
    assert_eq!(warning["at"], format!("{script}:1"));
    node.signal("TERM");
    assert_eq!(node.end(), (Some(0), vec![]));
}
