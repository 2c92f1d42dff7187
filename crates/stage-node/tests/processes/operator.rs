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
        if state["tickets"]["login"]["held"] == 1 && state["queues"]["workers"]["running"] == 1 {
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
    assert!(state["counters"]["handlers_run"].as_u64().unwrap() >= 1);

    let status = finish(&["status", "--admin", &admin]);
    let text = stdout(&status);
    assert!(text.contains("stages  stage") && text.contains("joined"), "{text}");
    let route = stdout(&finish(&["route", "--admin", &admin, "--admin", &admin]));
    let lines: Vec<_> = route.lines().collect();
    assert!(lines.len() == 3 && lines[0].starts_with("node"), "{route}");
    assert!(lines[1..].iter().all(|line| line.contains("  joined  ")), "{route}");
    let tickets = stdout(&finish(&["tickets", "--admin", &admin]));
    assert!(tickets.contains("each node counts its own") && tickets.contains("login"), "{tickets}");
    let json = finish(&["status", "--admin", &admin, "--json"]);
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&stdout(&json)).unwrap()["node"],
        state["node"]
    );
}

#[test]
fn health_is_open_and_readiness_ends_with_sigterm() {
    let (node, to, admin, _folder) = serve(SCRIPT);
    assert_eq!(get(&admin, "/healthz", ""), ("HTTP/1.1 200 OK".to_owned(), "ok\n".to_owned()));
    assert_eq!(get(&admin, "/readyz", "").0, "HTTP/1.1 200 OK");
    finish(&["signal", "stage:slow", "--wait", "50ms", "--to", &to]);
    finish(&["signal", "stage:hold", "--wait", "1ms", "--to", &to]);
    let hold =
        std::thread::spawn(move || finish(&["signal", "stage:slow", "--to", &to, "--wait", "60s"]));
    while !get(&admin, "/api/state", "").1.contains("\"running\":1") {}
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
    assert_eq!(get(&admin, "/healthz", "").0, "HTTP/1.1 200 OK");
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
fn status_of_something_else_is_a_clear_error() {
    let nobody = finish(&["status", "--admin", &address(free_port())]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(stderr(&nobody).contains("no answer from"), "{}", stderr(&nobody));
}
