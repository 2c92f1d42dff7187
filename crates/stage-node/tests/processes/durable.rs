//! Shared variables that outlive the process.

use std::path::{Path, PathBuf};

use stage_snapshot::Checkpoint;
use stage_value::{Key, Limits, Map, Value, wire};

use crate::harness::{Folder, Node, finish, stderr};

const SCRIPT: &str = r#"
SCORES = { kim = 0 }
SECRET = "not kept"
_SANDBOX[""] = { "*SCORES", "*SECRET" }
print("kim has " .. SCORES.kim .. ", secret " .. SECRET)
stage.waitfor("win", function ()
    __("SECRET", function () return "changed" end)
    __("SCORES", "kim", function (n) return n + 1 end)
    print("won " .. SCORES.kim)
end)
stage.signal("win")
"#;

fn configure(folder: &Folder) -> (PathBuf, PathBuf) {
    folder.write("main.lua", SCRIPT);
    let config = folder.write(
        "stage.json",
        r##"{
            "#snapshot": { "file": "scores.snap", "names": ["SCORES"], "every_ms": 100 },
            "#startup": [ { "stage": "s", "script": "main.lua" } ]
        }"##,
    );
    let file = config.with_file_name("scores.snap");
    (config, file)
}

fn start(config: &Path) -> Node {
    Node::start(&["run", "--config", config.to_str().unwrap()])
}

/// Runs until kim has won, and ends in good order.
fn round(config: &Path, expected: &str) {
    let mut node = start(config);
    node.wait_for(expected);
    node.wait_for("won");
    node.signal("TERM");
    assert_eq!(node.end().0, Some(0));
}

/// Whether what is saved is what kim has by now; a file alone may be of before.
fn has_saved(file: &Path, wins: i64) -> bool {
    let saved = Checkpoint::new(file).load().unwrap();
    let scores = saved.and_then(|saved| saved.entries.get("SCORES").cloned());
    let expected: Value = Map::from_iter([(Key::from("kim"), Value::Int(wins))]).into();
    scores
        .is_some_and(|scores| wire::decode(&scores.into(), &Limits::DEFAULT).unwrap() == [expected])
}

#[test]
fn what_a_node_has_saved_is_there_when_it_starts_again_and_nothing_else() {
    let folder = Folder::new();
    let (config, _) = configure(&folder);
    round(&config, "kim has 0, secret not kept");
    round(&config, "kim has 1, secret not kept");
    round(&config, "kim has 2, secret not kept");
}

#[test]
fn a_variable_that_has_grown_beyond_what_a_message_may_hold_is_there_when_the_node_starts_again() {
    let folder = Folder::new();
    folder.write(
        "main.lua",
        r#"
        SCORES = {}
        _SANDBOX[""] = { "*SCORES" }
        local n = 0
        for _ in pairs(SCORES) do n = n + 1 end
        print("found " .. n)
        for key = n + 1, n + 30 do
            __("SCORES", key, function () return { deep = { text = ("x"):rep(100) } } end)
        end
        print("grown by 30")
        "#,
    );
    let config = folder.write(
        "stage.json",
        r##"{
            "#snapshot": { "file": "scores.snap" },
            "#limits": { "args_nodes": 40, "args_bytes": 1024, "args_depth": 2 },
            "#startup": [ { "stage": "s", "script": "main.lua" } ]
        }"##,
    );
    for found in ["found 0", "found 30", "found 60"] {
        let mut node = start(&config);
        node.wait_for(found);
        node.wait_for("grown by 30");
        node.signal("TERM");
        assert_eq!(node.end().0, Some(0));
    }
}

#[test]
fn a_killed_node_has_what_was_saved_a_moment_ago() {
    let folder = Folder::new();
    let (config, file) = configure(&folder);
    let mut node = start(&config);
    node.wait_for("won");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !has_saved(&file, 1) {
        assert!(std::time::Instant::now() < deadline, "nothing was ever saved");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    node.kill();
    round(&config, "kim has 1");
}

#[test]
fn a_torn_file_gives_way_to_the_one_before_and_two_of_them_stop_the_start() {
    let folder = Folder::new();
    let (config, file) = configure(&folder);
    round(&config, "kim has 0");
    round(&config, "kim has 1");
    let saved = std::fs::read(&file).unwrap();
    std::fs::write(&file, &saved[..saved.len() / 2]).unwrap();
    let mut node = start(&config);
    node.wait_for("kim has 1");
    node.wait_for_log("torn or corrupt");
    node.kill();

    let torn = file.with_file_name("scores.snap.last");
    std::fs::write(&file, b"nonsense").unwrap();
    std::fs::write(torn, b"nonsense").unwrap();
    let output = finish(&["run", "--config", config.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let error = stderr(&output);
    assert!(error.contains("#snapshot: the checkpoint") && error.contains("corrupt"), "{error}");
}
