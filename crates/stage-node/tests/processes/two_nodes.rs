//! Two processes with the same script.

use crate::harness::{Folder, Node, address, finish, free_port, stdout};

const SCRIPT: &str = r#"
stage.waitfor("result", function (...) print("RESULT", ...) end)
stage.waitfor("failed", function (reason, address) print("FAILED", reason, address) end)
stage.waitfor("ship", function (v, seconds)
    stage.signal("stage:callback=result!failed", function (v, seconds)
        print("RUN", process.id, v)
        sleep(seconds)
        return process.id, v
    end, v, seconds)
end)
stage.waitfor("ask", function (seconds)
    print("ANSWER", stage.ask({ "stage:callback", idempotent = true }, function (seconds)
        print("RUN", process.id)
        sleep(seconds)
        return process.id
    end, seconds))
end)
stage.waitfor("traced", function ()
    local there, deeper = stage.ask("stage:trace")
    return _WAITFOR.trace, there, deeper
end)
stage.waitfor("trace", function ()
    return _WAITFOR.trace, stage.ask("stage:run", function () return true end)
end)
stage.waitfor("everywhere", function () stage.signal("*note", "all") end)
stage.waitfor("note", function (text) print("NOTE", text, _WAITFOR.node) end)
"#;

struct Pair {
    a: Node,
    b: Node,
    to_a: String,
    _folder: Folder,
}

fn pair() -> Pair {
    let folder = Folder::new();
    folder.write("main.lua", SCRIPT);
    let (a, b) = (address(free_port()), address(free_port()));
    let start = |name: &str, listen: &str, peer: &str| {
        let config = format!(
            r##"{{ "#node": {{ "name": "{name}", "listen": "{listen}" }}, "#cluster": ["{peer}"],
                  "#log": {{ "filter": "info,stage::trace=debug" }},
                  "#startup": [ {{ "stage": "stage", "script": "main.lua" }} ] }}"##
        );
        let file = folder.write(&format!("{name}.json"), &config);
        Node::start(&["run", "--config", file.to_str().unwrap()])
    };
    let (mut node_a, mut node_b) = (start("a", &a, &b), start("b", &b, &a));
    node_a.wait_for_log("linked peer=b");
    node_b.wait_for_log("linked peer=a");
    Pair { a: node_a, b: node_b, to_a: a, _folder: folder }
}

fn ship(to: &str, value: i64, seconds: f64) {
    let args = [value.to_string(), seconds.to_string()];
    let output = finish(&["signal", "stage:ship", &args[0], &args[1], "--to", to]);
    assert_eq!(stdout(&output), "null\n", "{output:?}");
}

#[test]
fn a_function_runs_on_the_other_process_and_its_result_returns() {
    let mut pair = pair();
    ship(&pair.to_a, 1, 0.0);
    let id = pair.b.id();
    assert_eq!(pair.b.wait_for("RUN"), format!("RUN\t{id}\t1"));
    assert_eq!(pair.a.wait_for("RESULT"), format!("RESULT\t{id}\t1"));
}

#[test]
fn what_is_lost_with_a_killed_node_is_reported_and_the_next_runs_on_the_survivor() {
    let mut pair = pair();
    ship(&pair.to_a, 1, 60.0);
    pair.b.wait_for("RUN");
    pair.b.kill();
    assert_eq!(pair.a.wait_for("FAILED"), "FAILED\tlink_lost\tstage:callback=result!failed");
    ship(&pair.to_a, 2, 0.0);
    let id = pair.a.id();
    assert_eq!(pair.a.wait_for("RUN"), format!("RUN\t{id}\t2"));
    assert_eq!(pair.a.wait_for("RESULT"), format!("RESULT\t{id}\t2"));
}

#[test]
fn what_may_run_twice_runs_on_the_survivor_when_its_node_is_killed() {
    let mut pair = pair();
    let ask = std::thread::spawn({
        let to = pair.to_a.clone();
        move || finish(&["signal", "stage:ask", "3", "--to", &to])
    });
    pair.b.wait_for("RUN");
    pair.b.kill();
    let id = pair.a.id();
    assert_eq!(pair.a.wait_for("RUN"), format!("RUN\t{id}"));
    assert_eq!(pair.a.wait_for("ANSWER"), format!("ANSWER\t{id}"));
    assert!(ask.join().unwrap().status.success());
}

#[test]
fn a_stopped_process_is_given_up_and_its_work_reported() {
    let mut pair = pair();
    ship(&pair.to_a, 1, 60.0);
    pair.b.wait_for("RUN");
    pair.b.signal("STOP");
    assert_eq!(pair.a.wait_for("FAILED"), "FAILED\tlink_lost\tstage:callback=result!failed");
    pair.b.signal("CONT");
}

#[test]
fn a_node_that_stops_in_peace_finishes_what_it_accepted() {
    let mut pair = pair();
    ship(&pair.to_a, 1, 0.5);
    pair.b.wait_for("RUN");
    let id = pair.b.id();
    pair.b.signal("TERM");
    assert_eq!(pair.a.wait_for("RESULT"), format!("RESULT\t{id}\t1"));
    assert_eq!(pair.b.end().0, Some(0));
    ship(&pair.to_a, 2, 0.0);
    pair.a.wait_for(&format!("RUN\t{}\t2", pair.a.id()));
}

#[test]
fn a_scope_reaches_every_node() {
    let mut pair = pair();
    let output = finish(&["signal", "stage:everywhere", "--to", &pair.to_a]);
    assert!(output.status.success());
    assert_eq!(pair.a.wait_for("NOTE"), "NOTE\tall\ta");
    assert_eq!(pair.b.wait_for("NOTE"), "NOTE\tall\ta");
}

#[test]
fn a_trace_goes_through_the_handlers_of_both_nodes_and_into_the_log() {
    let mut pair = pair();
    let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let output = finish(&["signal", "stage:traced", "--to", &pair.to_a, "--traceparent", text]);
    let printed = stdout(&output);
    let (start, own) = (&text[..36], &text[36..52]);
    assert_eq!(printed.matches(start).count(), 2, "{output:?}");
    assert!(!printed.contains(own), "each handler is a step of its own: {printed}");
    let line = pair.b.wait_for_log(&text[3..35]);
    assert!(line.contains("parent=") && line.contains("busy="), "{line}");
    pair.a.wait_for_log(&format!("parent=\"{own}\""));
    let plain = stdout(&finish(&["signal", "stage:traced", "--to", &pair.to_a]));
    assert!(!plain.contains("00-"), "{plain}");
}
