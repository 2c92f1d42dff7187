//! Ways out of the VM or into another function's run, each shown to fail in scripts and in sandboxes.

use crate::harness::{run, start_error};

/// What each attempt yields in a script and in a sandboxed function.
fn attempts(attempts: &[&str]) -> Vec<String> {
    let body: Vec<_> =
        attempts.iter().map(|attempt| format!("print(pcall(function() {attempt} end))")).collect();
    let body = body.join("\n");
    run(&format!("{body}\nstage.submit(0, function()\n{body}\nend)"))
}

/// Every attempt raises an error, wherever it is made.
fn all_fail(escapes: &[&str]) {
    let lines = attempts(escapes);
    assert_eq!(lines.len(), 2 * escapes.len(), "{lines:?}");
    for (escape, line) in escapes.iter().cycle().zip(&lines) {
        assert!(line.starts_with("false\t"), "{escape} gave {line}");
    }
}

/// Every attempt yields nothing of use, wherever it is made.
fn all_yield(escapes: &[&str], expected: &str) {
    let lines = attempts(escapes);
    assert_eq!(lines.len(), 2 * escapes.len(), "{lines:?}");
    for (escape, line) in escapes.iter().cycle().zip(&lines) {
        assert_eq!(line, &format!("true\t{expected}"), "{escape}");
    }
}

#[test]
fn the_metatable_of_strings_is_out_of_reach() {
    all_yield(&["return getmetatable('')", "return getmetatable(('x'):upper())"], "false");
    all_fail(&[
        "getmetatable('').__index = {}",
        "setmetatable('', {})",
        "rawset(getmetatable(''), 'x', 1)",
        "('').dump(print)",
    ]);
}

#[test]
fn what_reaches_the_machine_is_nowhere() {
    all_yield(
        &[
            "return debug or io or package or require or dofile or loadfile or collectgarbage",
            "return _G and (_G.debug or _G.io or _G.package)",
            "return os.execute or os.exit or os.getenv or os.remove or os.rename or os.tmpname",
            "return string.dump or coroutine.debug",
            "return _ENV.debug or _ENV.io",
            "local _ENV = setmetatable({}, {__index = _ENV}) return io or debug",
        ],
        "nil",
    );
}

#[test]
fn the_metatables_of_globals_and_views_are_out_of_reach() {
    all_yield(&["return getmetatable(_ENV)", "return getmetatable(stage.dump and _ENV)"], "false");
    all_fail(&[
        "setmetatable(_ENV, {})",
        "local _ENV = getmetatable(_ENV) __index = print",
        "stage.signal(function() end)",
    ]);
}

#[test]
fn the_metatable_of_a_shared_table_is_out_of_reach() {
    let body = "
        print(getmetatable(T), pcall(setmetatable, T, {}))
        print(pcall(rawset, T, 'x', 1))
        print(pcall(rawset, T.inner, 'x', 1))
        print(pcall(table.insert, T, 1))
        print(pcall(table.sort, T.list, function(a, b) return a > b end))
        local _, t = pairs(T) print(pcall(rawset, t, 'x', 1))
        local co = coroutine.wrap(function() for _, v in pairs(T) do coroutine.yield(v) end end)
        print(T.x, T.inner.x, T.list[1], co() ~= nil)";
    let lines = run(&format!(
        "T = {{ inner = {{}}, list = {{ 1, 2 }} }} _SANDBOX[''] = {{ '*T' }}
         {body}\nstage.submit(0, function() {body} end)"
    ));
    for lines in [&lines[..7], &lines[7..]] {
        assert!(lines[0].starts_with("false\tfalse\t"), "{lines:?}");
        assert!(lines[1..6].iter().all(|line| line.starts_with("false\t")), "{lines:?}");
        assert_eq!(lines[6], "nil\tnil\t1\ttrue");
    }
}

#[test]
fn crafted_bytecode_is_never_loaded() {
    // Code that Lua would run, and the starts of what other versions and LuaJIT would.
    let code = mlua::Lua::new().load("return 1").into_function().unwrap().dump(true);
    let valid: String = code.iter().map(|byte| format!("\\{byte:03}")).collect();
    let escapes = [valid.as_str(), r"\27", r"\27LuaS", r"\27LJ\2"];
    let calls: Vec<_> = escapes
        .iter()
        .flat_map(|code| {
            [
                format!("print((load('{code}')))"),
                format!("print((load('{code}', 'x', 'b')))"),
                format!("print((load('{code}', 'x', 'bt')))"),
                format!("print((load('{code}', 'x', 't')))"),
                format!(
                    "do local i = 0 print((load(function() i = i + 1 \
                     return ('{code}'):sub(i, i) end))) end"
                ),
            ]
        })
        .collect();
    let lines = run(&calls.join("\n"));
    assert_eq!(lines, vec!["nil"; calls.len()]);
}

#[test]
fn error_objects_and_coroutines_hand_out_nothing_of_the_host() {
    all_yield(
        &[
            "local _, e = pcall(sleep, {}) return type(e)",
            "local _, e = pcall(stage.submit, {}) return type(e)",
            "local _, e = xpcall(sleep, function(e) return e end, {}) return type(e)",
            "local co = coroutine.create(function() sleep({}) end) \
             local _, e = coroutine.resume(co) return type(e)",
            "local _, e = coroutine.close((function() \
             local co = coroutine.create(function() sleep({}) end) coroutine.resume(co) \
             return co end)()) return type(e)",
            "local _, e = pcall(coroutine.wrap(function() sleep({}) end)) return type(e)",
        ],
        "string",
    );
}

#[test]
fn a_wait_within_a_coroutine_hands_out_no_mark_of_the_host() {
    let lines = run(r#"
        stage.waitfor("go", function()
            local co = coroutine.create(function() sleep(0.001) coroutine.yield("mine") end)
            print(coroutine.resume(co))
            local wrapped = coroutine.wrap(function() sleep(0.001) return "end" end)
            print(wrapped())
        end)
        stage.signal("go")
    "#);
    assert_eq!(lines, ["true\tmine", "end"]);
}

#[test]
fn what_could_never_be_ended_is_refused() {
    all_fail(&[
        "setmetatable({}, {__gc = function() end})",
        "setmetatable({}, {__gc = true})",
        "local t = setmetatable({}, {}) setmetatable(t, {__gc = print})",
    ]);
    let lines = run("print((load('local x <close> = nil')))");
    assert_eq!(lines, ["nil"]);
}

#[test]
fn a_script_that_is_bytecode_does_not_start() {
    let error = start_error("\u{1b}LuaT\0\u{19}");
    assert!(error.contains("main.lua: a script is text"), "{error}");
}
