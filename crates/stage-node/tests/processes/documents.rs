//! The examples of the guide to the Lua API print what stands below them.

use std::time::Duration;

use crate::harness::{Folder, Node};

/// Each script of a guide with the output that stands right below it.
fn examples(guide: &str) -> Vec<(&str, &str)> {
    let mut blocks = guide.split("```").skip(1).step_by(2).peekable();
    let mut gaps = guide.split("```").skip(2).step_by(2);
    let mut examples = Vec::new();
    while let Some(block) = blocks.next() {
        let gap = gaps.next().unwrap_or_default();
        let script = block.strip_prefix("lua\n");
        let output = blocks.peek().and_then(|next| next.strip_prefix("text\n"));
        if let (Some(script), Some(output)) = (script, output)
            && gap.trim().is_empty()
        {
            examples.push((script, output));
        }
    }
    examples
}

fn check(guide: &str) {
    let examples = examples(guide);
    assert!(examples.len() >= 8, "only {} examples", examples.len());
    // Few at a time: they sleep no longer than a machine that starts many nodes may stall.
    for some in examples.chunks(2) {
        std::thread::scope(|scope| {
            for (script, expected) in some {
                scope.spawn(move || {
                    let printed = printed_by(script, expected.lines().count());
                    assert_eq!(sorted(&printed), sorted(expected), "of\n{script}");
                });
            }
        });
    }
}

/// What a script prints: so many lines, and what comes within half a second after these.
fn printed_by(script: &str, lines: usize) -> String {
    let folder = Folder::new();
    let file = folder.write("x.lua", script);
    let mut node = match needs(script) {
        None => Node::start(&["run", file.to_str().unwrap()]),
        Some(section) => {
            let startup = r##""#startup": [{ "stage": "stage", "script": "x.lua" }]"##;
            let config = folder.write("stage.json", &format!("{{ {section}, {startup} }}"));
            Node::start(&["run", "--config", config.to_str().unwrap()])
        }
    };
    let mut printed: Vec<_> = (0..lines).map(|_| node.next_line()).collect();
    std::thread::sleep(Duration::from_millis(500));
    node.signal("TERM");
    printed.extend(node.end().1);
    printed.join("\n").replace(file.to_str().unwrap(), "x.lua")
}

/// What an example says in its first line that the configuration has.
fn needs(script: &str) -> Option<&str> {
    script.lines().next()?.strip_prefix("-- stage.json: ")
}

/// What runs on several workers prints in any order.
fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn the_english_guide_shows_what_its_examples_print() {
    check(include_str!("../../../../docs/lua.md"));
}

#[test]
fn the_korean_guide_shows_what_its_examples_print() {
    check(include_str!("../../../../docs/ko/lua.md"));
}
