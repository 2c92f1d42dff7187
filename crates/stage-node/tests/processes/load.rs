//! `stage-node bench`: a node is loaded, in the tool's own process and from outside.

use serde_json::Value;

use crate::harness::{Folder, Node, finish, stage_node, stderr, stdout};

fn bench(args: &[&str]) -> Value {
    let output = finish(&[&["bench"], args, &["--for", "300ms", "--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    serde_json::from_str(&stdout(&output)).unwrap()
}

#[test]
fn each_kind_of_work_is_done_and_timed() {
    for work in [
        &["signal"][..],
        &["submit", "--keys", "1"],
        &["submit", "--keys", "0"],
        &["ticket", "--limit", "2"],
    ] {
        let result = bench(work);
        assert!(result["done"].as_u64().unwrap() > 0, "{result}");
        assert_eq!(result["failed"], serde_json::json!({}), "{work:?}");
        assert!(result["ms"]["p50"].as_f64() <= result["ms"]["p99.9"].as_f64(), "{result}");
    }
}

#[test]
fn each_call_of_a_plan_is_done_or_told() {
    let result = bench(&["signal", "--rate", "100"]);
    let told = ["done", "unsent", "given_up"].map(|what| result[what].as_u64().unwrap());
    assert_eq!(told.iter().sum::<u64>(), 30, "{result}");
}

#[test]
fn a_running_node_that_carries_the_script_is_loaded_from_outside() {
    let folder = Folder::new();
    let script = stdout(&finish(&["bench", "script"]));
    folder.write("bench.lua", &script);
    let to = crate::harness::address(crate::harness::free_port());
    let config = format!(
        r##"{{ "#node": {{ "listen": "{to}" }}, "#startup": [ {{ "stage": "bench", "script": "bench.lua" }} ] }}"##
    );
    let config = folder.write("stage.json", &config);
    let mut node = Node::start(&["run", "--config", config.to_str().unwrap()]);
    node.wait_for_log("takes signals");
    for work in ["signal", "submit", "ticket"] {
        let result = bench(&[work, "--to", &to, "--concurrency", "4"]);
        assert!(result["done"].as_u64().unwrap() > 0, "{result}");
    }
}

#[test]
fn an_interrupted_load_shows_what_it_has_measured() {
    let mut child = stage_node(&["bench", "signal", "--for", "1h"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let progress = std::io::BufReader::new(child.stderr.take().unwrap());
    let first = std::io::BufRead::lines(progress).next().unwrap().unwrap();
    assert!(first.contains("1 s") && first.contains("done"), "{first}");
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout(&output).contains("a second, 0 failed"), "{}", stdout(&output));
}

#[test]
fn a_node_that_is_not_there_or_does_not_carry_the_stage_is_told_apart() {
    let output = finish(&["bench", "signal", "--to", "127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no node answers at 127.0.0.1:1"), "{}", stderr(&output));
    let folder = Folder::new();
    let (_node, to, _) = Node::serve(&folder.write("main.lua", "stage.waitfor('a', print)"));
    let output = finish(&["bench", "signal", "--to", &to]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("stage-node bench script > bench.lua"), "{}", stderr(&output));
    for wrong in [["--for", "0s"], ["--rate", "0"], ["--concurrency", "0"], ["--size", "17000000"]]
    {
        let output = finish(&[&["bench", "signal"], &wrong[..]].concat());
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
}
