//! Where a running node spends its time in Lua.

use std::fs;
use std::time::{Duration, Instant};

use crate::harness::{Folder, Node, finish, stderr, stdout};
use crate::operator::get;

const BUSY: &str = r#"
local function spin() for i = 1, 200000 do end end
stage.addtask(1, function()
    spin()
    return 1
end)
stage.waitfor("ready", function() return true end)
"#;

#[test]
fn a_profile_shows_the_busiest_lines_and_draws_them() {
    let folder = Folder::new();
    let (_node, _, admin) = Node::serve(&folder.write("main.lua", BUSY));
    let svg = folder.path().join("out.svg");
    let folded = folder.path().join("out.txt");
    let args = ["profile", "--for", "3s", "--rate", "500", "--admin", &admin];
    let files = ["--svg", svg.to_str().unwrap(), "--folded", folded.to_str().unwrap()];
    let output = finish(&[&args[..], &files].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    let first = text.lines().nth(3).unwrap();
    assert!(first.ends_with("main.lua:2 spin"), "{text}");
    assert!(stderr(&output).contains("sampling: 1 s of 3 s"), "{}", stderr(&output));
    let drawn = fs::read_to_string(&svg).unwrap();
    assert!(drawn.starts_with("<svg ") && drawn.contains("main.lua:2 spin"), "{drawn}");
    let stacks = fs::read_to_string(&folded).unwrap();
    let calls = |line: &str| line.starts_with("stage") && line.contains("main.lua:4;");
    assert!(stacks.lines().any(calls), "{stacks}");
}

#[test]
fn a_node_that_runs_nothing_and_questions_that_make_no_sense_get_a_clear_answer() {
    let folder = Folder::new();
    let (_node, _, admin) = Node::serve(&folder.write("main.lua", "stage.waitfor('x', print)"));
    let svg = folder.path().join("out.svg");
    let nothing =
        finish(&["profile", "--for", "100ms", "--admin", &admin, "--svg", svg.to_str().unwrap()]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(stderr(&nothing).contains("nothing ran in Lua"), "{}", stderr(&nothing));
    assert!(!svg.exists());
    for args in [["--for", "6m"], ["--for", "0s"], ["--rate", "1001"], ["--rate", "0"]] {
        let refused = finish(&[&["profile"], &args[..]].concat());
        assert_eq!(refused.status.code(), Some(2), "{args:?}");
    }
    for query in ["ms=0", "ms=300001", "rate=0&ms=1", "rate=1001&ms=1", "ms=x", "for=1"] {
        let (status, body) = get(&admin, &format!("/api/profile?{query}"), "");
        assert!(status.contains("400"), "{query}: {status} {body}");
    }
}

#[test]
fn while_one_profile_is_taken_a_second_is_refused_and_one_that_is_given_up_ends() {
    let folder = Folder::new();
    let (_node, _, admin) = Node::serve(&folder.write("main.lua", BUSY));
    let deadline = Instant::now() + Duration::from_secs(20);
    let first = loop {
        let mut first = std::net::TcpStream::connect(&admin).unwrap();
        let ask = "GET /api/profile?ms=300000 HTTP/1.1\r\nHost: x\r\n\r\n";
        std::io::Write::write_all(&mut first, ask.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let (status, body) = get(&admin, "/api/profile?ms=1", "");
        if status.contains("409") {
            assert!(body.contains("already"), "{status}: {body}");
            break first;
        }
        // The node had not read it yet, and may refuse it now.
        assert!(Instant::now() < deadline, "{status}: {body}");
    };
    drop(first);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !get(&admin, "/api/profile?ms=1", "").0.contains("200") {
        assert!(Instant::now() < deadline, "it goes on for nobody");
    }
}
