//! A node whose scripts are changed while clients ask it.

use crate::harness::{Folder, Node, address, finish, free_port, stdout};

fn ask(to: &str) -> String {
    stdout(&finish(&["signal", "stage:price", "3", "--to", to])).trim().to_owned()
}

#[test]
fn a_changed_script_is_taken_up_a_broken_one_is_not_and_the_log_says_which_line() {
    let folder = Folder::new();
    let text = |factor: &str| {
        format!("stage.waitfor('price', function(n) return n * {factor} end)\nprint('{factor}')\n")
    };
    let script = folder.write("main.lua", &text("2"));
    let (mut node, to, _) = Node::serve(&script);
    assert_eq!(ask(&to), "6");
    folder.write("main.lua", &text("5"));
    node.wait_for_log("taken up anew");
    assert_eq!(ask(&to), "15");
    folder.write("main.lua", "stage.waitfor('price', print)\nprice = price + 1\n");
    let told = node.wait_for_log("the new version fails, so the one before goes on");
    assert!(told.contains("main.lua:2: attempt to perform arithmetic on a nil value"), "{told}");
    assert_eq!(ask(&to), "15");
    node.signal("TERM");
    let (code, printed) = node.end();
    assert_eq!((code, printed), (Some(0), vec!["2".to_owned(), "5".to_owned()]));
}

#[test]
fn a_node_that_is_told_not_to_look_keeps_its_scripts_and_falls_back_for_modules() {
    let folder = Folder::new();
    folder
        .write("main.lua", "stage.waitfor('price', function(n) return n * stage.load('rate') end)");
    folder.write("rate.lua", "return 1 +");
    std::fs::create_dir(folder.path().join("old")).unwrap();
    folder.write("old/rate.lua", "return 7");
    let to = address(free_port());
    let config = format!(
        r##"{{ "#node": {{ "listen": "{to}" }}, "#reload": {{ "every_ms": 0, "rollback": "old" }},
              "#startup": [ {{ "stage": "stage", "script": "main.lua" }} ] }}"##
    );
    let config = folder.write("stage.json", &config);
    let mut node = Node::start(&["run", "--config", config.to_str().unwrap()]);
    node.wait_for_log("takes signals");
    assert_eq!(ask(&to), "21");
    node.wait_for_log("its copy in the folder of #reload.rollback is used");
    folder.write("rate.lua", "return 8");
    folder.write("main.lua", "error('taken up')");
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(ask(&to), "21");
    assert!(!node.unread().contains("taken up"), "{}", node.unread());
}
