//! Nodes that are not told where the others are.

use crate::harness::{Etcd, Folder, Node, address, finish, free_port, stdout};

const SCRIPT: &str = r#"
stage.waitfor("who", function () return process.node end)
stage.waitfor("over", function () return stage.ask("stage:who") end)
"#;

/// Starts a node that knows of the others only what `rest` says.
fn start(folder: &Folder, name: &str, listen: &str, rest: &str) -> Node {
    folder.write("main.lua", SCRIPT);
    let config = format!(
        r##"{{ "#node": {{ "name": "{name}", "listen": "{listen}"{rest},
              "#startup": [ {{ "stage": "stage", "script": "main.lua" }} ] }}"##
    );
    let file = folder.write(&format!("{name}.json"), &config);
    Node::start(&["run", "--config", file.to_str().unwrap()])
}

#[test]
fn nodes_find_each_other_through_etcd_and_one_that_moved_too() {
    let (etcd, folder) = (Etcd::start(), Folder::new());
    let rest =
        format!(r##" }}, "#etcd": {{ "endpoints": ["{}"], "prefix": "/found" }}"##, etcd.endpoint);
    let at_a = address(free_port());
    let mut a = start(&folder, "a", &at_a, &rest);
    let mut b = start(&folder, "b", &address(free_port()), &rest);
    a.wait_for_log("linked peer=b");
    b.wait_for_log("linked peer=a");
    let over = || stdout(&finish(&["signal", "stage:over", "--to", &at_a]));
    assert_eq!(over(), "\"b\"\n");
    b.kill();
    a.wait_for_log("a link was lost");
    let _b = start(&folder, "b", &address(free_port()), &rest);
    a.wait_for_log("linked peer=b");
    assert_eq!(over(), "\"b\"\n");
}

#[test]
fn nodes_find_each_other_by_a_name() {
    let folder = Folder::new();
    let port = free_port();
    let name = format!(
        r##", "ticket_coordinator": "127.0.0.1:{port}" }}, "#cluster": ["dns:localhost:{port}"]"##
    );
    let b = start(&folder, "b", &address(port), &name);
    let mut a = start(&folder, "a", &address(free_port()), &name);
    a.wait_for_log("linked peer=b");
    drop(b);
}
