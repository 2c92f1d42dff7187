//! What makes an author's life easier: threads, one-time handlers, direct calls, values as text.

use crate::harness::run;

#[test]
fn a_thread_tells_who_started_it_how_far_it_is_and_what_it_returned() {
    let lines = run(r#"
        local t = thread.new(function(from, to)
            for i = from, to do thread.signal("at", i, thread.id) end
            return "done", to
        end, 1, 3)
        t.waitfor(function(bound, what, n, id) print(bound, what, n, id == t.id) end, "told")
        print(type(t.id), thread.id)
    "#);
    let told = |what, n, id| format!("told\t{what}\t{n}\t{id}");
    assert_eq!(lines[0], "string\tnil");
    assert_eq!(lines[1..4], [1, 2, 3].map(|n| told("at", n, true)));
    assert_eq!(lines[4..], [told("done", 3, false)]);
}

#[test]
fn threads_are_told_apart_and_one_that_raises_harms_no_other() {
    let lines = run(r#"
        thread.new(function() error("boom") end).waitfor(function() print("never") end)
        local a = thread.new(function() sleep(0.05) return "a" end)
        local b = thread.new(function() return "b" end)
        a:waitfor(print)
        b:waitfor(print)
        print(a.id ~= b.id, (select(2, pcall(thread.new, 5))))
        print(pcall(thread.signal, 1))
    "#);
    assert!(lines[0].contains("bad argument #1 to 'new' (function expected, got number)"));
    assert!(lines[1].contains("thread.signal works in a function given to thread.new"));
    assert_eq!(lines[2..], ["b", "a"]);
}

#[test]
fn a_one_time_handler_hears_one_message() {
    let lines = run(r#"
        stage.once("x", function(bound, v) print(bound, v) end, "once")
        stage.waitfor("failed", print)
        stage.signal("x", 1)
        stage.signal("x!failed", 2)
        print(pcall(stage.once, "x", 5))
    "#);
    assert!(lines[0].contains("bad argument #2 to 'once' (function expected, got number)"));
    assert_eq!(lines[1], "once\t1");
    assert!(lines[2].starts_with("no_handler\tx!failed"), "{lines:?}");
}

#[test]
fn a_handler_is_called_by_its_id_as_part_of_the_one_that_runs() {
    let lines = run(r##"
        stage.waitfor("add.", function(a, ...) sleep(0.001) return a, select("#", ...), ... end, 1, 2)
        stage.waitfor("go", function()
            print(stage.call("add.x", nil, 3, nil))
            print(stage.call(math.max, 1, 7, 3))
            print(pcall(stage.call, "nobody"))
            print(pcall(stage.call, 5))
        end)
        stage.signal("go")
    "##);
    assert_eq!(lines[..2], ["1\t4\t2\tnil\t3\tnil", "7"]);
    assert!(lines[2].contains("no handler 'nobody' here"), "{lines:?}");
    assert!(lines[3].contains("bad argument #1 to 'call'"), "{lines:?}");
}

#[test]
fn a_value_is_shown_with_keys_in_order_and_circles_end() {
    let lines = run(r#"
        local t = { 1, "two\n", { x = true }, name = "n", [10] = 0.5, ["a b"] = print }
        t.own = t
        print(stage.dump(t))
        print(stage.dump("text"), stage.dump(nil), stage.dump({}))
        setmetatable(t, { __index = error, __pairs = error, __tostring = error, __len = error })
        print(#stage.dump(t) > 0)
        local deep = {} for i = 1, 100 do deep = { deep } end
        print(stage.dump(deep):find("<table>", 1, true) ~= nil)
        local wide = {} for i = 1, 5000 do wide[i] = ("x"):rep(1000) end
        print(#stage.dump(wide) < 70000, #stage.dump(("x"):rep(1e6)) < 70000)
    "#);
    let expected = [
        "{",
        "  1,",
        r#"  "two\n","#,
        "  {",
        "    x = true",
        "  },",
        "  [10] = 0.5,",
        "  [\"a b\"] = <function>,",
        "  name = \"n\",",
        "  own = <a table around this>",
        "}",
        "\"text\"\tnil\t{}",
        "true",
        "true",
        "true\ttrue",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_table_raised_as_an_error_keeps_its_content() {
    let lines = run(r#"
        stage.waitfor("bad", function() error({ code = 5, why = "late" }) end)
        stage.waitfor("go", function()
            local ok, e = pcall(function() error({ code = 7 }) end)
            print(ok, type(e), e.code)
            print(select(2, pcall(stage.ask, "bad")))
            print(select(2, pcall(stage.ask, "stage:ship", function() error({ 1, 2 }) end)))
        end)
        stage.signal("go")
    "#);
    assert_eq!(lines[0], "false\ttable\t7");
    assert!(lines[1].ends_with(r#"handler 'bad': {code = 5, why = "late"}"#), "{lines:?}");
    assert!(lines[2].ends_with("{1, 2}"), "{lines:?}");
}

#[test]
fn raw_access_and_dump_look_behind_a_view() {
    let lines = run(r#"
        LIST = { 1, 2, { x = 3 } }
        _SANDBOX[""] = { "*LIST" }
        print(rawget(LIST, 2), rawlen(LIST), rawget(LIST, 9), rawget(rawget(LIST, 3), "x"))
        print((stage.dump(LIST):gsub("%s", "")))
        print(rawget({ 5 }, 1), rawlen("abc"), pcall(rawlen, 5))
    "#);
    assert_eq!(lines[..2], ["2\t3\tnil\t3", "{1,2,{x=3}}"]);
    assert!(lines[2].starts_with("5\t3\tfalse\t"), "{lines:?}");
}

#[test]
fn clocks_have_fractions_and_the_one_for_measuring_does_not_go_back() {
    let lines = run(r#"
        local a = stage.clock()
        sleep(0.01)
        local b = stage.clock()
        print(b - a >= 0.01, math.type(a), math.abs(stage.now() - os.time()) < 2)
    "#);
    assert_eq!(lines, ["true\tfloat\ttrue"]);
}
