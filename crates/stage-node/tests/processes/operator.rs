//! What operators and outside clients see.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::harness::{Folder, Node, address, finish, free_port, stderr, stdout};

const SCRIPT: &str = r#"
stage.waitfor("hello", function (who) return "hello " .. who end)
stage.waitfor("two", function () return 1, { a = { 2.5, true } } end)
stage.waitfor("bad", function () error("boom") end)
stage.waitfor("slow", function () sleep(60) end)
stage.waitfor("hold", function () sleep(60) end)
"#;

fn serve(script: &str) -> (Node, String, String, Folder) {
    let folder = Folder::new();
    let (node, to, admin) = Node::serve(&folder.write("main.lua", script));
    (node, to, admin, folder)
}

/// The status line and body of a GET.
pub(crate) fn get(admin: &str, path: &str, header: &str) -> (String, String) {
    let mut stream = TcpStream::connect(admin).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[test]
fn an_outside_client_gets_the_reply_as_json() {
    let (_node, to, _, _folder) = serve(SCRIPT);
    let ask = |args: &[&str]| finish(&[&["signal"], args, &["--to", &to]].concat());
    assert_eq!(stdout(&ask(&["stage:hello", "\"kim\""])), "\"hello kim\"\n");
    assert_eq!(stdout(&ask(&["two"])), "[1,{\"a\":[2.5,true]}]\n");

    let failures = [
        (vec!["stage:bad"], "handler: handler 'bad': "),
        (vec!["stage:nope"], "no_handler: stage 'stage' has no handler 'nope'"),
        (vec!["nope:x"], "no_stage: "),
        (vec!["stage:slow", "--wait", "100ms"], "deadline"),
        (vec!["stage:hello=x"], "malformed: "),
        (vec!["ticket:a=b"], "malformed: "),
    ];
    for (args, expected) in failures {
        let output = ask(&args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(stderr(&output).contains(expected), "{args:?}: {}", stderr(&output));
    }
    let nobody = finish(&["signal", "stage:hello", "--to", &address(free_port())]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(stderr(&nobody).contains("no node"), "{}", stderr(&nobody));
}

#[test]
fn the_state_tells_of_stages_queues_tickets_and_route() {
    let (_node, to, admin, _folder) = serve(&format!(
        "{SCRIPT} stage.signal('ticket:login=hold') stage.signal('ticket:login=hold') stage.submit(5, function() sleep(60) end)"
    ));
    finish(&["signal", "stage:hello", "1", "--to", &to]);
    let state = loop {
        let (status, body) = get(&admin, "/api/state", "");
        assert_eq!(status, "HTTP/1.1 200 OK");
        let state: serde_json::Value = serde_json::from_str(&body).unwrap();
        if state["tickets"]["login"]["held"] == 1
            && state["queues"]["workers"]["running"] == 1
            && state["queues"]["submit"]["running"] == 1
        {
            break state;
        }
    };
    assert_eq!(state["stages"], serde_json::json!(["stage"]));
    assert_eq!(state["peers"], serde_json::json!([]));
    assert_eq!(state["route"]["state"], "joined");
    let login = &state["tickets"]["login"];
    assert_eq!(
        (&login["limit"], &login["held"], &login["waiting"]),
        (&1.into(), &1.into(), &1.into())
    );
    assert_eq!(state["ticket_counting"]["coordinators"][0]["here"], true);
    // A node that counts for itself shows itself.
    assert_eq!(login["holders"][0]["node"], state["node"]);
    assert_eq!(login["holders"][0]["slot"], 0);
    assert!(login["waiting_ms"].is_number() && login["holders"][0]["left_ms"].is_number());
    assert_eq!(state["queues"]["submit"]["running"], 1);
    assert_eq!((&state["keys"][0]["key"], &state["keys"][0]["jobs"]), (&"5".into(), &1.into()));
    assert!(state["counters"]["handlers_run"].as_u64().unwrap() >= 1);

    let status = finish(&["status", "--admin", &admin]);
    let text = stdout(&status);
    assert!(text.contains("stages  stage") && text.contains("joined"), "{text}");
    let route = stdout(&finish(&["route", "--admin", &admin, "--admin", &admin]));
    let lines: Vec<_> = route.lines().collect();
    assert!(lines.len() == 5 && lines[0].starts_with("node"), "{route}");
    assert!([1, 3].iter().all(|line| lines[*line].contains("  joined  ")), "{route}");
    assert!(lines.iter().filter(|line| line.contains("  bottleneck: ")).count() == 2, "{route}");
    let json = stdout(&finish(&["route", "--admin", &admin, "--admin", &admin, "--json"]));
    let nodes: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (nodes[0]["node"].clone(), nodes[1]["route"]["state"].clone()),
        (state["node"].clone(), "joined".into())
    );
    let tickets = stdout(&finish(&["tickets", "--admin", &admin]));
    assert!(tickets.contains("each node counts its own") && tickets.contains("login"), "{tickets}");
    let json = finish(&["status", "--admin", &admin, "--json"]);
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&stdout(&json)).unwrap()["node"],
        state["node"]
    );
}

/// A value of an OpenMetrics text, by the sample's name and labels.
fn sample(metrics: &str, name: &str) -> f64 {
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse().unwrap()
}

#[test]
fn metrics_tell_the_same_as_the_state() {
    let script = format!(
        "{SCRIPT} stage.signal('ticket:login=hold') stage.signal('ticket:login=hold') \
         for n = 1, 3 do stage.submit(5, function() sleep(60) end) end \
         stage.submit(6, function() end) stage.submit(6, function() end)"
    );
    let (_node, to, admin, _folder) = serve(&script);
    finish(&["signal", "stage:hello", "1", "--to", &to]);
    let metrics = loop {
        let (status, metrics) = get(&admin, "/metrics", "");
        assert_eq!(status, "HTTP/1.1 200 OK");
        if metrics.contains("stage_ticket_held{category=\"login\"} 1.0")
            && sample(&metrics, "stage_submit_ended_total{how=\"completed\"}") == 2.0
            && sample(&metrics, "stage_queue_waiting{queue=\"submit\"}") == 2.0
            && sample(&metrics, "stage_queue_running{queue=\"submit\"}") == 1.0
            && sample(&metrics, "stage_submit_keys") == 1.0
        {
            break metrics;
        }
    };
    for (name, value) in [
        ("stage_carries{stage=\"stage\"}", 1.0),
        ("stage_route_state{state=\"joined\"}", 1.0),
        ("stage_route_state{state=\"isolated\"}", 0.0),
        ("stage_queue_waiting{queue=\"submit\"}", 2.0),
        ("stage_queue_running{queue=\"submit\"}", 1.0),
        ("stage_queue_refused_late_total{queue=\"stage\"}", 0.0),
        ("stage_submit_keys", 1.0),
        ("stage_ticket_waiting{category=\"login\"}", 1.0),
        ("stage_ticket_granted_total{category=\"login\"}", 1.0),
        ("stage_signals_failed_handler_total", 0.0),
    ] {
        assert_eq!(sample(&metrics, name), value, "{name}");
    }
    assert!(sample(&metrics, "stage_route_threshold_seconds") >= 0.002);
    assert!(sample(&metrics, "stage_handlers_run_total") >= 1.0);
    let waits = sample(&metrics, "stage_submit_wait_seconds_count");
    assert_eq!(sample(&metrics, "stage_submit_wait_seconds_bucket{le=\"+Inf\"}"), waits);
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
    // Each family is described once, before its samples.
    let described = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let described: Vec<_> = described.map(|line| line.split(' ').next().unwrap()).collect();
    let distinct: std::collections::BTreeSet<_> = described.iter().collect();
    assert_eq!(distinct.len(), described.len(), "{metrics}");
}

#[test]
fn health_is_open_and_readiness_ends_with_sigterm() {
    let (node, to, admin, _folder) = serve(&format!(
        "{SCRIPT} local begun = false
         stage.waitfor('begin', function () begun = true sleep(60) end)
         stage.waitfor('begun', function () return begun end)"
    ));
    assert_eq!(get(&admin, "/healthz", ""), ("HTTP/1.1 200 OK".to_owned(), "ok\n".to_owned()));
    assert_eq!(get(&admin, "/readyz", "").0, "HTTP/1.1 200 OK");
    finish(&["signal", "stage:slow", "--wait", "50ms", "--to", &to]);
    finish(&["signal", "stage:hold", "--wait", "1ms", "--to", &to]);
    // Told by a handler that only this client runs: those above may still be running too, and
    // once they have ended a node that has nothing else to do is gone.
    let begin = ["signal", "stage:begin", "--to", &to, "--wait", "60s"].map(str::to_owned);
    let hold = std::thread::spawn(move || finish(&begin.each_ref().map(String::as_str)));
    while stdout(&finish(&["signal", "stage:begun", "--to", &to])) != "true\n" {}
    node.signal("TERM");
    while get(&admin, "/readyz", "").0 != "HTTP/1.1 503 Service Unavailable" {}
    drop(node);
    assert_eq!(hold.join().unwrap().status.code(), Some(1));
}

#[test]
fn a_token_guards_the_state_and_not_the_health() {
    let folder = Folder::new();
    folder.write("main.lua", SCRIPT);
    let admin = address(free_port());
    let config = folder.write(
        "stage.json",
        &format!(
            r##"{{ "#admin": {{ "listen": "{admin}", "token": "0123456789abcdef" }},
                  "#startup": [ {{ "stage": "s", "script": "main.lua" }} ] }}"##
        ),
    );
    let mut node = Node::start(&["run", "--config", config.to_str().unwrap()]);
    node.wait_for_log("operator's surface");
    for open in ["/healthz", "/", "/page.js"] {
        assert_eq!(get(&admin, open, "").0, "HTTP/1.1 200 OK");
    }
    for guarded in ["/api/route", "/metrics"] {
        assert_eq!(get(&admin, guarded, "").0, "HTTP/1.1 401 Unauthorized", "{guarded}");
    }
    for header in ["", "Authorization: Bearer 0123456789abcdeF\r\n", "Authorization: Bearer \r\n"] {
        assert_eq!(get(&admin, "/api/state", header).0, "HTTP/1.1 401 Unauthorized", "{header}");
    }
    let header = "Authorization: Bearer 0123456789abcdef\r\n";
    assert_eq!(get(&admin, "/api/state", header).0, "HTTP/1.1 200 OK");
    let refused = finish(&["status", "--admin", &admin]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("401"), "{}", stderr(&refused));
    let shown = finish(&["status", "--admin", &admin, "--token", "0123456789abcdef"]);
    assert!(stdout(&shown).contains("stages  s"));
}

#[test]
fn the_page_is_open_loads_nothing_from_elsewhere_and_asks_for_what_it_shows() {
    let (_node, _, admin, _folder) = serve(SCRIPT);
    let mut stream = TcpStream::connect(&admin).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    assert!(
        page.contains("content-security-policy: default-src 'none'; script-src 'self'"),
        "{page}"
    );
    assert!(!page.contains("http://") && !page.contains("https://"), "{page}");
    for file in ["/page.js", "/page.css"] {
        assert!(page.contains(&format!("\"{file}\"")), "{page}");
        assert_eq!(get(&admin, file, "").0, "HTTP/1.1 200 OK");
    }
    let windows = |after: f64| -> Vec<serde_json::Value> {
        let (_, body) = get(&admin, &format!("/api/route?after_ms={after:.0}"), "");
        serde_json::from_str(&body).unwrap()
    };
    let first = loop {
        let all = windows(0.0);
        if all.len() >= 3 {
            break all;
        }
    };
    let last = first[2]["at_ms"].as_f64().unwrap();
    assert!(windows(last + 1.0).iter().all(|window| window["at_ms"].as_f64().unwrap() > last));
    assert!(first.iter().all(|window| window["threshold_ms"].as_f64().unwrap() >= 2.0));
}

#[test]
fn work_that_waits_for_its_key_is_named_as_what_holds_a_node_up() {
    let (_node, _, admin, _folder) =
        serve("for _ = 1, 5 do stage.submit('kim', function() sleep(60) end) end");
    let bottleneck = loop {
        let state: serde_json::Value =
            serde_json::from_str(&get(&admin, "/api/state", "").1).unwrap();
        // The fifth waits too until the first has been started.
        if state["bottleneck"]["kind"] == "key" && state["bottleneck"]["work"] == 4 {
            break state["bottleneck"].clone();
        }
    };
    assert_eq!(bottleneck["more_cores"], false, "{bottleneck}");
    assert!(bottleneck["advice"].as_str().unwrap().contains("key \"kim\""), "{bottleneck}");
    let route = stdout(&finish(&["route", "--admin", &admin]));
    assert!(route.contains("  bottleneck: jobs of key \"kim\" wait for each other"), "{route}");
}

#[test]
fn status_of_something_else_is_a_clear_error() {
    let nobody = finish(&["status", "--admin", &address(free_port())]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(stderr(&nobody).contains("no answer from"), "{}", stderr(&nobody));
}
