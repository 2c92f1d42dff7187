//! Shared variables: snapshots for readers, atomic updates for writers.

use crate::harness::{run, run_instances};

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
fn a_handler_goes_on_with_its_version_when_others_in_its_vm_have_read_a_newer_one() {
    let lines = run(r#"
        T = { n = 1, deep = {} }
        _SANDBOX[""] = { "*T" }
        stage.waitfor("newer", function()
            __("T", "n", function(n) return n + 1 end)
            stage.snapshot.refresh()
            return T.n
        end)
        stage.waitfor("older", function()
            print(T.n, stage.ask("newer"))
            print(T.n, T == T, T.deep == T.deep)
            stage.snapshot.refresh()
            print(T.n, T == T)
        end)
        stage.signal("older")
    "#);
    assert_eq!(lines, ["1\t2", "1\ttrue\ttrue", "2\ttrue"]);
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
        try(__, "A", function() stage.waitfor("x", print) end)
    "#);
    assert!(
        lines[0].contains(r#"'NOPE' is not shared: declare it by _SANDBOX[""] = { "*NOPE" }"#),
        "{lines:?}"
    );
    assert!(lines[1].contains("must not send, submit or write, only return"), "{lines:?}");
    assert!(lines[3].contains("must not send, submit or write"), "{lines:?}");
    assert!(lines[4].contains("must not send, submit or write"), "{lines:?}");
    assert!(lines[2].contains("'A': shared variable: a coroutine cannot be sent"), "{lines:?}");
}

#[test]
fn a_shared_table_reads_like_a_table() {
    let lines = run(r#"
        T = { 10, 20, 30, name = "kim", pos = { x = 1, y = { z = 2 } }, [2.5] = true }
        L = { "a", "b", "c" }
        E = {}
        _SANDBOX[""] = { "*T", "*L", "*E" }
        print(type(T), #T, T[2], T.name, T.pos.y.z, T[2.5], T.missing, T[4])
        print(#L, L[1], L[3.0], L[4], L.x, table.concat(L, "+"), table.unpack(L))
        local keys = {}
        for k, v in pairs(T) do keys[#keys + 1] = tostring(k) end
        table.sort(keys)
        print(table.concat(keys, " "))
        local items = {}
        for i, v in ipairs(T) do items[#items + 1] = i .. "=" .. v end
        print(table.concat(items, " "), next(L), next(E), next(T.pos))
        print(next({}), next({ 5 }))
        stage.waitfor("again", function(t, l) t.pos.x = 9 print(t.pos.x, T.pos.x, #l) end)
        stage.signal("again", T, L)
    "#);
    assert_eq!(
        lines,
        [
            "table\t3\t20\tkim\t2\ttrue\tnil\tnil",
            "3\ta\tc\tnil\tnil\ta+b+c\ta\tb\tc",
            "1 2 2.5 3 name pos",
            "1=10 2=20 3=30\t1\tnil\tx\t1",
            "nil\t1\t5",
            "9\t1\t3",
        ]
    );
}

#[test]
fn parts_of_a_shared_table_are_the_same_each_time_and_its_length_is_a_border() {
    let lines = run(r#"
        local calls = 0
        T = { at = {}, count = function() calls = calls + 1 return calls end }
        M = { name = "kim" }
        for i = 1, 1000 do M[i] = i end
        _SANDBOX[""] = { "*T", "*M" }
        local at, count = T.at, T.count
        for i = 1, 100000 do local _ = { i } end
        print(at == T.at, count == T.count, T.count(), T.count())
        print(#M, #T, M[#M], M[#M + 1])
    "#);
    assert_eq!(lines, ["true\ttrue\t1\t2", "1000\t0\t1000\tnil"]);
}

#[test]
fn a_shared_table_may_say_where_a_signal_goes() {
    let lines = run(r#"
        TO = { "echo", idempotent = true }
        _SANDBOX[""] = { "*TO" }
        stage.waitfor("echo", function(v) print(v) end)
        stage.signal(TO, "heard")
    "#);
    assert_eq!(lines, ["heard"]);
}

#[test]
fn a_variable_that_is_declared_again_stays_as_it_is() {
    let lines = run(r#"
        T = { 1 }
        _SANDBOX[""] = { "*T" }
        local before = T
        _SANDBOX[""] = { "*T" }
        print(T == before, T[1])
    "#);
    assert_eq!(lines, ["true\t1"]);
}

#[test]
fn next_takes_the_keys_that_a_shared_table_has_and_no_others() {
    let lines = run(r#"
        L, M = { "a", "b" }, { a = 1, c = 3 }
        local list, map = L, M
        _SANDBOX[""] = { "*L", "*M" }
        print((next(L, 1)), (next(L, 2)), (next(M, "a")), (next(M, "c")))
        local function refuses(t, ...)
            for _, key in ipairs { ... } do
                local ok, e = pcall(next, t, key)
                print(ok, e and tostring(e):match("invalid key to 'next'$"))
            end
        end
        for _, t in ipairs { L, list } do refuses(t, 0, 3, 99, 1.5, "a", false, {}) end
        for _, t in ipairs { M, map } do refuses(t, "b", "absent", 1, 0 / 0, true, print) end
    "#);
    assert_eq!(lines[0], "2\tnil\tc\tnil");
    assert_eq!(lines[1..], ["false\tinvalid key to 'next'"; 26]);
}

#[test]
fn a_shared_table_cannot_be_written_in_place() {
    let lines = run(r#"
        T = { n = 1, deep = { x = 1 } }
        _SANDBOX[""] = { "*T" }
        local function try(f) print((select(2, pcall(f)):gsub("\n.*", ""))) end
        try(function() T.n = 2 end)
        try(function() T.deep.y = 2 end)
        try(function() rawset(T, "n", 5) end)
        print(T.n, T.deep.x, T.deep.y)
    "#);
    assert!(lines[0].contains("cannot change 'n' of a shared table: use __"), "{lines:?}");
    assert!(lines[1].contains("cannot change 'y' of a shared table"), "{lines:?}");
    assert!(lines[2].contains("cannot change 'n' of a shared table"), "{lines:?}");
    assert_eq!(lines[3], "1\t1\tnil");
}

#[test]
fn one_entry_can_be_updated_by_its_key() {
    let lines = run(r#"
        T = { kim = 1 }
        L = { 5 }
        N = 3
        _SANDBOX[""] = { "*T", "*L", "*N" }
        print(__("T", "kim", function(v) return v + 1 end), __("T", "lee", function(v) return v or 7 end))
        print(T.kim, T.lee, __("T", "kim", function() return nil end), T.kim)
        __("L", 2, function() return { deep = true } end)
        print(#L, L[1], L[2].deep)
        print((select(2, pcall(__, "N", "x", function() return 1 end)):gsub("\n.*", "")))
    "#);
    assert_eq!(lines[..3], ["2\t7", "2\t7\tnil\tnil", "2\t5\ttrue"]);
    assert!(lines[3].contains("'N' is a number, which has no entries"), "{lines:?}");
}

#[test]
fn an_update_that_fails_leaves_the_next_one_possible_and_sends_nothing() {
    let lines = run(r#"
        N = 1
        _SANDBOX[""] = { "*N" }
        stage.waitfor("x", print)
        print((select(2, pcall(__, "N", function() error("boom", 0) end)):gsub("\n.*", "")))
        for _, f in ipairs { function() stage.signal("x") end, function() stage.submit(0, print) end,
                             function() stage.addtask(1, print) end } do
            print((select(2, pcall(__, "N", f)):gsub("\n.*", "")))
        end
        print(__("N", function(n) return n + 1 end))
        print((select(2, pcall(function() _SANDBOX[""] = { "*A", "*two words" } end)):gsub("\n.*", "")))
        print(pcall(__, "A", function() end) == false)
    "#);
    assert!(lines[0].ends_with("boom"), "{lines:?}");
    assert!(
        lines[1..4].iter().all(|line| line.contains("must not send, submit or write")),
        "{lines:?}"
    );
    assert_eq!(lines[4], "2");
    assert!(lines[5].contains("'two words' is no name of a variable"), "{lines:?}");
    assert_eq!(lines[6], "true");
}

#[test]
fn a_second_instance_finds_what_the_first_has_written() {
    let script = r#"
        N = 1
        _SANDBOX[""] = { "*N" }
        N = N + 1
        print(N)
        stage.waitfor("read", function() print("read", N) N = 10 print("wrote", N) end)
    "#;
    let lines = run_instances(2, &format!("{script} if N == 3 then stage.signal('read') end"));
    assert_eq!(lines, ["2", "3", "read\t3", "wrote\t10"]);
}
