//! What may be sent and what may not, with the path to it.

use crate::harness::{run, run_with};
use std::sync::Arc;

use stage_lua::Options;
use stage_value::{Limits, Value};

#[test]
fn values_arrive_as_they_were_sent() {
    let lines = run(r#"
        stage.waitfor("echo", function(...) return ... end)
        stage.waitfor("go", function()
            local i, f, s, b, n, list, map = stage.ask("echo", 1, 1.0, "a\0\255b", true, nil, {1, {2}, 3}, {x = {y = "z"}, [2.5] = 1, [true] = 2})
            print(math.type(i), math.type(f), s == "a\0\255b", b, n)
            print(#list, list[1], list[2][1], list[3], map.x.y, map[2.5], map[true])
            local mixed = stage.ask("echo", {10, 20, key = "v", [7] = 70})
            print(#mixed, mixed[2], mixed.key, mixed[7])
            print(next(stage.ask("echo", {})))
        end)
        stage.signal("go")
    "#);
    assert_eq!(
        lines,
        ["integer\tfloat\ttrue\ttrue\tnil", "3\t1\t2\t3\tz\t1\t2", "2\t20\tv\t70", "nil"]
    );
}

/// What `stage.signal("x", ...)` raises for arguments written in Lua.
fn refused(prelude: &str, args: &str) -> String {
    let script = format!(
        "{prelude}\nlocal ok, e = pcall(stage.signal, 'x', {args})\n\
         print((tostring(e):gsub('\\nstack traceback.*', '')))"
    );
    run(&script).join("\n")
}

#[test]
fn what_cannot_be_sent_is_named_with_its_path() {
    let cycle = refused("local t = {name = 'a'} t.children = {{parent = t}}", "1, t");
    assert!(cycle.contains("args[2].children[1].parent: it contains itself"), "{cycle}");
    let task = refused("local task = stage.addtask(0, print)", "1, {owner = {sock = task}}");
    assert!(task.contains("args[2].owner.sock: userdata cannot be sent"), "{task}");
    let coroutine = refused("", "{coroutine.create(print)}");
    assert!(coroutine.contains("args[1][1]: a coroutine cannot be sent"), "{coroutine}");
    let library = refused("", "print");
    assert!(library.contains("args[1]: a function of the library cannot be sent"), "{library}");
    let key = refused("", "{[{}] = 1}");
    assert!(key.contains("args[1]: a table with a table as key"), "{key}");
    let upvalue = refused("local co = coroutine.create(print)", "function() return co end");
    assert!(upvalue.contains("args[1] upvalue 'co': a coroutine cannot be sent"), "{upvalue}");
}

#[test]
fn a_hundred_megabytes_are_refused_and_the_stage_goes_on() {
    let lines = run(r#"
        stage.waitfor("x", function(v) print("still here", v) end)
        local half = ("x"):rep(50 << 20)
        local ok, e = pcall(stage.signal, "x", half .. half)
        print(ok, tostring(e):match("args%[1%]: more than %d+ bytes"))
        stage.signal("x", 1)
    "#);
    assert_eq!(lines, ["false\targs[1]: more than 16777216 bytes", "still here\t1"]);
}

#[test]
fn depth_and_count_are_limited() {
    let values = Limits { depth: 4, nodes: 50, bytes: 1000 };
    let lines = run_with(
        &Options { values, ..Options::default() },
        r#"
        local function try(v)
            local ok, e = pcall(stage.signal, "x!gone", v)
            print(ok or tostring(e):match("args[^\n]*"))
        end
        stage.waitfor("gone", function() end)
        local deep = {}
        for i = 1, 3 do deep = {deep} end
        try(deep)
        try({deep})
        local many = {}
        for i = 1, 60 do many[i] = i end
        try(many)
        "#,
    )
    .unwrap();
    assert_eq!(lines[0], "true");
    assert_eq!(lines[1], "args[1][1][1][1][1]: nested deeper than 4 levels");
    assert!(lines[2].ends_with("more than 50 values in one message"), "{}", lines[2]);
}

#[test]
fn results_that_cannot_leave_fail_the_ask_with_their_path() {
    let lines = run(r#"
        stage.waitfor("bad", function() return {a = coroutine.create(print)} end)
        stage.waitfor("go", function() print(select(2, pcall(stage.ask, "bad"))) end)
        stage.signal("go")
    "#);
    assert!(lines[0].contains("results[1].a: a coroutine cannot be sent"), "{lines:?}");
}

#[test]
fn settings_of_the_node_are_values_of_scripts_and_each_has_its_own_copy() {
    let settings = [
        ("%name".to_owned(), Value::from("kim")),
        ("%list".to_owned(), Value::list([1_i64.into(), 2_i64.into()])),
    ];
    let options = Options { settings: Arc::new(settings.into()), ..Options::default() };
    let script = r#"
        print(process["$%name"], process["$%list"][2], process["$%none"], process["$list"])
        process["$%list"][2] = "changed"
        stage.waitfor("result", function(...) print(...) end)
        stage.addtask(1, function()
            stage.submit(1, function()
                stage.signal("result", process["$%list"][2], pcall(function() process["$%name"] = 1 end))
            end)
        end)
    "#;
    let lines = run_with(&options, script).unwrap();
    assert_eq!(lines[0], "kim\t2\tnil\tnil");
    assert!(lines[1].starts_with("2\tfalse"), "{lines:?}");
}
