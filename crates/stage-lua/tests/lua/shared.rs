//! Shared variables: snapshots for readers, atomic updates for writers.

use crate::harness::run;

#[test]
fn updates_from_many_workers_are_all_counted() {
    let lines = run(r#"
        _SANDBOX[""] = { "*COUNT" }
        COUNT = 0
        stage.waitfor("done", function()
            stage.snapshot.refresh()
            if COUNT == 50 then print("all", COUNT) end
        end)
        for i = 1, 50 do
            stage.submit(0, function()
                __("COUNT", function(n) return n + 1 end)
                stage.signal("done")
            end)
        end
    "#);
    assert_eq!(lines.last().map(String::as_str), Some("all\t50"));
}

#[test]
fn a_handler_sees_one_version_until_it_refreshes() {
    let lines = run(r#"
        _SANDBOX[""] = { "*V" }
        V = 1
        stage.waitfor("read", function()
            print("before", V)
            stage.submit(0, function() __("V", function(v) return v + 1 end) end)
            sleep(0.1)
            print("after", V)
            stage.snapshot.refresh()
            print("refreshed", V)
        end)
        stage.signal("read")
    "#);
    assert_eq!(lines, ["before\t1", "after\t1", "refreshed\t2"]);
}

#[test]
fn a_handlers_own_writes_are_visible_to_it() {
    let lines = run(r#"
        T = { n = 1 }
        _SANDBOX[""] = { "*T" }
        print(T.n)
        T = { n = 2 }
        print(T.n, __("T", function(t) t.n = t.n + 1 return t end).n, T.n)
    "#);
    assert_eq!(lines, ["1", "2\t3\t3"]);
}

#[test]
fn misuse_is_an_error_that_says_what_to_do() {
    let lines = run(r#"
        local function try(f, ...) print((select(2, pcall(f, ...)):gsub("\n.*", ""))) end
        try(__, "NOPE", function() end)
        _SANDBOX[""] = { "*A" }
        try(__, "A", function() return __("A", function() end) end)
        try(function() A = coroutine.create(print) end)
        try(__, "A", function() A = 1 end)
    "#);
    assert!(
        lines[0].contains(r#"'NOPE' is not shared: declare it by _SANDBOX[""] = { "*NOPE" }"#),
        "{lines:?}"
    );
    assert!(
        lines[1].contains("must not write shared variables: return the new value"),
        "{lines:?}"
    );
    assert!(lines[3].contains("must not write shared variables"), "{lines:?}");
    assert!(lines[2].contains("'A': shared variable: a coroutine cannot be sent"), "{lines:?}");
}
