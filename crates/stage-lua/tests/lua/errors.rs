//! Script errors: reported with file and line, and nothing else suffers.

use crate::harness::{run, start_error};

#[test]
fn a_syntax_error_names_file_and_line() {
    let error = start_error("local x = 1\nlocal function f(\n  print(");
    assert!(error.starts_with("main.lua:3:"), "{error}");
}

#[test]
fn an_error_before_the_first_wait_is_a_failed_start_with_traceback() {
    let error = start_error("local function f() error('boom') end\nf()");
    assert!(error.starts_with("main.lua:1: boom\nstack traceback:\n"), "{error}");
    assert!(error.contains("main.lua:2: in main chunk"), "{error}");
}

#[test]
fn a_handler_that_raises_harms_no_other() {
    let lines = run(r#"
        stage.waitfor("bad", function() local t = nil; t.x = 1 end)
        stage.waitfor("good", function() print("good") end)
        stage.waitfor("failed", function(reason, address) print(reason, address) end)
        stage.signal("bad!failed")
        stage.signal("good")
        stage.signal("ticket:t=bad")
        stage.signal("ticket:t=good")
        stage.submit(5, function() error("in a job") end)
        stage.submit(5, function() print("key is free") end)
    "#);
    for line in ["handler\tbad!failed", "good", "key is free"] {
        assert!(lines.iter().any(|l| l == line), "{line} is not in {lines:?}");
    }
    assert_eq!(lines.iter().filter(|l| *l == "good").count(), 2);
}

#[test]
fn an_ask_raises_what_the_handler_raised() {
    let lines = run(r#"
        stage.waitfor("bad", function() error("boom") end)
        stage.waitfor("go", function()
            print((select(2, pcall(stage.ask, "bad")):gsub("\n.*", "")))
            print((select(2, pcall(stage.ask, "nobody:x")):gsub("\n.*", "")))
        end)
        stage.signal("go")
    "#);
    assert!(lines[0].ends_with("bad: handler: handler 'bad': main.lua:2: boom"), "{lines:?}");
    assert!(lines[0].starts_with("main.lua:"), "{lines:?}");
    assert!(lines[1].contains("nobody:x: no_stage: "), "{lines:?}");
}

#[test]
fn wrong_arguments_are_errors_at_the_callers_line() {
    let lines = run(r#"
        local function try(f, ...) print((select(2, pcall(f, ...)):gsub("\n.*", ""))) end
        try(stage.signal, 5)
        try(stage.signal, "a b")
        try(stage.submit, {}, print)
        try(stage.submit, 1, "no function")
        try(stage.waitfor, "x", 5)
        try(stage.addtask, -1, print)
        try(sleep, -1)
        try(stage.signal, nil, "nobody")
    "#);
    let expected = [
        "bad argument #1 to 'signal' (address or nil expected, got number)",
        "address, column 2: ' ' cannot stand here",
        "bad argument #1 to 'submit' (integer or string as key expected, got table)",
        "bad argument #2 to 'submit' (function expected, got string)",
        "bad argument #2 to 'waitfor' (function or nil expected, got number)",
        "bad argument #1 to 'addtask' (milliseconds of 0 or more expected, got number)",
        "bad argument #1 to 'sleep' (seconds of 0 or more expected, got number)",
        "nobody to reply to",
    ];
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.contains(expected), "{line}");
    }
    assert_eq!(lines.len(), expected.len());
}

#[test]
fn print_writes_as_lua_does() {
    let lines = run(r#"
        print(1, 1.0, -0.0, 1e100, 10 // 3, nil, true, "한글")
        print(setmetatable({}, {__tostring = function() return "custom" end}))
        print()
    "#);
    assert_eq!(lines, ["1\t1.0\t-0.0\t1e+100\t3\tnil\ttrue\t한글", "custom", ""]);
}

#[test]
fn a_byte_order_mark_and_a_shebang_are_skipped_and_lines_stay() {
    let error = start_error("\u{feff}#!/usr/bin/env stage-node\nerror('boom')");
    assert!(error.starts_with("main.lua:2: boom"), "{error}");
}

#[test]
fn errors_keep_their_text_and_have_no_place_of_the_host() {
    let lines = run(r#"
        print(pcall(print, setmetatable({}, {__tostring = function() error("in tostring", 0) end})))
        print(pcall(error, "plain", 2))
        print(pcall(error, "plain", 0))
        print((select(2, pcall(sleep, "x")):gsub("\n.*", "")))
        stage.waitfor("go", function()
            local co = coroutine.create(function() stage.ask("nope") end)
            coroutine.resume(co)
            print((select(2, coroutine.close(co)):gsub("\n.*", "")))
        end)
        stage.signal("go")
    "#);
    assert!(lines[0].ends_with("in tostring"), "{lines:?}");
    assert_eq!(lines[1..3], ["false\tplain", "false\tplain"]);
    assert!(
        lines[3].contains("bad argument #1 to 'sleep' (seconds of 0 or more expected"),
        "{lines:?}"
    );
    assert!(lines[4].starts_with("main.lua:7: nope: no_handler: "), "{lines:?}");
}
