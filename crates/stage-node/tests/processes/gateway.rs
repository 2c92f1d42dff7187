//! What browsers and curl see of a node, and what operators see of them.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::harness::{Folder, Node, address, finish, free_port, stderr, stdout};

const TOKEN: &str = "4f1d9c0be1b04c7e9a3d";

/// The status and the body of the answer to a signal.
fn post(to: &str, token: &str, target: &str, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(to).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST /v1/signal/{target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Authorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].to_owned(), body.to_owned())
}

#[test]
fn a_token_signals_the_stages_that_it_may_and_operators_see_how_often() {
    let folder = Folder::new();
    folder.write(
        "main.lua",
        r#"stage.waitfor("hello", function (who) return "hello " .. who, { 2 ^ 53, 1 / 0 } end)
           stage.waitfor("bad", function () error("boom") end)"#,
    );
    let (to, admin) = (address(free_port()), address(free_port()));
    let config = folder.write(
        "stage.json",
        &format!(
            r##"{{
  "#gateway": {{ "listen": "{to}", "tokens": {{ "web": {{ "token": "{TOKEN}", "signal": ["lobby"] }} }} }},
  "#admin": {{ "listen": "{admin}" }},
  "#startup": [ {{ "stage": "lobby", "script": "main.lua" }}, {{ "stage": "vault", "script": "main.lua" }} ]
}}"##
        ),
    );
    let mut node = Node::start(&["run", "--config", config.to_str().unwrap()]);
    node.wait_for_log("gateway");
    let (status, body) = post(&to, TOKEN, "lobby:hello", "[\"kim\"]");
    assert_eq!(
        (status.as_str(), body.as_str()),
        ("200", r#"["hello kim",[9007199254740992.0,{"$float":"inf"}]]"#)
    );
    for (token, target, status, code) in [
        (TOKEN, "vault:hello", "403", "denied"),
        ("another-token-of-20", "lobby:hello", "401", "unauthorised"),
        (TOKEN, "lobby:nope", "404", "no_handler"),
        (TOKEN, "lobby:bad", "500", "handler"),
    ] {
        let (found, body) = post(&to, token, target, "[]");
        assert_eq!(found, status, "{target}: {body}");
        assert!(body.contains(&format!("\"code\":\"{code}\"")), "{body}");
    }
    let state = stdout(&finish(&["status", "--admin", &admin, "--json"]));
    for counter in ["\"gateway_signals\": 4", "\"gateway_unauthorised\": 1"] {
        assert!(state.contains(counter) || state.contains(&counter.replace(": ", ":")), "{state}");
    }
    node.signal("TERM");
    assert_eq!(node.end().0, Some(0));
}

#[test]
fn a_gateway_beyond_this_machine_needs_tokens_or_says_that_it_is_insecure() {
    let folder = Folder::new();
    folder.write("main.lua", "");
    let check = |gateway: &str| {
        let text = format!(
            r##"{{ "#gateway": {{ "listen": "0.0.0.0:7790"{gateway} }},
                  "#startup": [ {{ "stage": "a", "script": "main.lua" }} ] }}"##
        );
        finish(&["check", folder.write("stage.json", &text).to_str().unwrap()])
    };
    let refused = check("");
    assert_ne!(refused.status.code(), Some(0));
    let told = stderr(&refused);
    assert!(told.contains("whoever reaches this port can signal every stage"), "{told}");
    let tokens = format!(r#", "tokens": {{ "a": {{ "token": "{TOKEN}", "signal": ["*"] }} }}"#);
    assert_eq!(check(&tokens).status.code(), Some(0));
    assert_eq!(check(r#", "insecure": true"#).status.code(), Some(0));
    let twice =
        tokens.replace("} }", &format!(r#"}}, "b": {{ "token": "{TOKEN}", "signal": [] }} }}"#));
    assert!(stderr(&check(&twice)).contains("the token of \"b\""), "{}", stderr(&check(&twice)));
}
