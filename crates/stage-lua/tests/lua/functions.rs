//! Functions that travel as source text.

use crate::harness::run;

/// Sends the value of a Lua expression to a worker as a function and prints what it returns.
fn shipped(prelude: &str, function: &str, args: &str) -> Vec<String> {
    let script = format!(
        "{prelude}\nstage.waitfor('shipped', print)\n\
         stage.signal('stage:none=shipped', {function} {args})"
    );
    run(&script)
}

#[test]
fn upvalues_travel_as_values() {
    let lines = shipped(
        "local n, t, s = 2, {a = {b = 3}}, 'x'",
        "function(v) n = n + v return n, t.a.b, s end",
        ", 5",
    );
    assert_eq!(lines, ["7\t3\tx"]);
}

#[test]
fn functions_on_one_line_are_told_apart() {
    let prelude = "local a, b = function() return 'a' end, function() return 'b' end";
    assert_eq!(shipped(prelude, "b", ""), ["b"]);
    assert_eq!(shipped(prelude, "a", ""), ["a"]);
}

#[test]
fn functions_on_one_line_are_told_apart_by_what_they_capture() {
    let prelude = "local lo, hi = 1, 10 local a, b = function() return lo - hi end, function() return hi - lo end";
    assert_eq!(shipped(prelude, "b", ""), ["9"]);
    assert_eq!(shipped(prelude, "a", ""), ["-9"]);
    let both = "stage.signal('stage:none=shipped', a) stage.submit(0, a)";
    let mut lines = shipped(&format!("{prelude} {both}"), "b", "");
    lines.sort();
    assert_eq!(lines, ["-9", "9"]);
    let prelude = "x = 'a global' local cfg = { x = 5 }
        local a, b = function() return x end, function() return cfg.x end";
    assert_eq!(shipped(prelude, "b", ""), ["5"]);
    assert_eq!(shipped(prelude, "a", ""), ["nil"]);
}

#[test]
fn an_environment_of_the_scripts_own_is_refused_and_named() {
    let lines = run(r#"
        local f = load("return function() return x end", "=m", "t", { x = 5 })()
        print(pcall(stage.submit, 0, f))
        local _ENV = { print = print, pcall = pcall, stage = stage, x = 5 }
        print(pcall(stage.submit, 0, function() return x end))
    "#);
    for line in lines {
        assert!(line.starts_with("false\t") && line.contains("_ENV"), "{line}");
        assert!(line.contains("an environment of the script's own cannot be sent"), "{line}");
    }
}

#[test]
fn a_recursive_local_function_calls_itself() {
    let fib = "local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end";
    assert_eq!(shipped(fib, "fib", ", 20"), ["6765"]);
}

#[test]
fn helpers_ship_along() {
    let prelude =
        "local function twice(n) return n * 2 end\nlocal function f(n) return twice(n) + 1 end";
    assert_eq!(shipped(prelude, "f", ", 4"), ["9"]);
}

#[test]
fn library_functions_in_upvalues_go_by_name() {
    let prelude = "local insert, fmt, m, str = table.insert, string.format, math, print";
    let function = "function() local t = {} insert(t, 1) return fmt('%d', #t), m.max(1, 2) end";
    assert_eq!(shipped(prelude, function, ""), ["1\t2"]);
}

#[test]
fn methods_named_and_vararg_functions_travel() {
    let prelude = "local class = {}\nfunction class:add(a, b) return self.base + a + b end\n\
                   function class.count(...) return select('#', ...) end\n\
                   function class:none() return self end";
    assert_eq!(shipped(prelude, "class.add", ", {base = 1}, 2, 3"), ["6"]);
    assert_eq!(shipped(prelude, "class.count", ", nil, nil"), ["2"]);
    assert_eq!(shipped(prelude, "class.none", ", 9"), ["9"]);
}

#[test]
fn a_function_made_by_load_travels() {
    let prelude = "local f = load('local k = 3\\nreturn function(v) return v * k end', '=made')()";
    assert_eq!(shipped(prelude, "f", ", 5"), ["15"]);
}

#[test]
fn a_shipped_function_ships_on() {
    let lines = run(r#"
        stage.waitfor("end", print)
        stage.submit(0, function(v)
            local inner = function(w) return w .. v end
            stage.signal("stage:none=end", inner, "a")
        end, "b")
    "#);
    assert_eq!(lines, ["ab"]);
}

#[test]
fn functions_within_tables_travel() {
    let lines = shipped(
        "local t = {run = function(v) return v + 1 end}",
        "function(t) return t.run(1) end",
        ", t",
    );
    assert_eq!(lines, ["2"]);
}

#[test]
fn a_folded_constant_is_refused_and_not_replaced() {
    let lines = run(r#"
        local N <const> = 5
        print(select(2, pcall(stage.submit, 0, function() return N end)))
    "#);
    assert!(lines[0].contains("source text is not known"), "{lines:?}");
}

#[test]
fn errors_on_the_far_side_name_the_authors_line() {
    let lines = run(
        "stage.waitfor('failed', function(reason, address, detail) print(reason, address, detail) end)\n\
                     \n\
                     stage.signal('stage:none!failed', function()\n\
                       local x = nil\n\
                       return x.y\n\
                     end)",
    );
    assert_eq!(
        lines,
        [
            "handler\tstage:none!failed\thandler 'none': main.lua:5: attempt to index a nil value (local 'x')"
        ]
    );
}

#[test]
fn tables_with_a_metatable_are_worked_on_as_those_without() {
    let lines = run(r#"
        local function proxy(t)
          return setmetatable({}, {
            __len = function() return #t end,
            __index = t,
            __newindex = function(_, k, v) t[k] = v end,
            __metatable = "hidden",
          })
        end
        local function text(ok, ...) return stage.dump({ ok, ok and ... or "error" }) end
        local function both(name, arguments)
          local outcomes = {}
          for i, wrap in ipairs { function(t) return t end, proxy } do
            local t = { "a", "b", "c", "d" }
            local all = arguments(wrap(t))
            local result = table.pack(pcall(table[name], table.unpack(all, 1, all.n)))
            if type(result[2]) == "table" then result[2] = "the table" end
            if not result[1] then result[2] = (result[2]:gsub("^.-: ", "")) end
            outcomes[i] = stage.dump({ result, t })
          end
          if outcomes[1] ~= outcomes[2] then print(name, outcomes[1], outcomes[2]) end
        end
        for at = -1, 7 do
          both("insert", function(t) return table.pack(t, at, "x") end)
          both("remove", function(t) return table.pack(t, at) end)
          for to = -1, 7 do
            both("concat", function(t) return table.pack(t, ",", at, to) end)
            both("move", function(t) return table.pack(t, 2, at, to) end)
          end
        end
        both("insert", function(t) return table.pack(t, "x") end)
        both("insert", function(t) return table.pack(t, 1.5, "x") end)
        both("remove", function(t) return table.pack(t) end)
        both("concat", function(t) return table.pack(t) end)
        both("concat", function(t) return table.pack(t, ",", 1, "x") end)
        both("sort", function(t) return table.pack(t) end)
        both("sort", function(t) return table.pack(t, function(a, b) return a > b end) end)
        both("sort", function(t) return table.pack(t, 1) end)
        print("compared")
        "#);
    assert_eq!(lines, ["compared"]);
}

#[test]
fn bytecode_is_refused_by_load() {
    let lines = run(r#"
        local header = "\27Lua\x54\0\x19\x93\r\n\x1a\n"
        print(load(header))
        print(load(header, "x", "b"))
    "#);
    assert_eq!(lines, vec!["nil\tload takes text only: bytecode cannot be checked"; 2]);
}

#[test]
fn texts_that_load_makes_without_end_take_no_memory_for_ever_and_no_function_of_the_script_is_lost()
{
    let lines = run(r#"
        stage.waitfor("result", print)
        stage.waitfor("main", function()
            local first = load("return function() return 1 end")()
            local filler = ("-"):rep(1 << 20)
            for i = 1, 100 do load("return " .. i .. " --" .. filler) sleep(0) end
            print(pcall(stage.signal, "stage:a=result", first))
            stage.signal("stage:b=result", function() return "still sent" end)
            local newest = load("return function() return 'new' end")()
            stage.signal("stage:c=result", newest)
        end)
        stage.signal("main")
    "#);
    assert!(
        lines[0].starts_with("false\t") && lines[0].contains("source text is not known"),
        "{lines:?}"
    );
    assert!(
        lines.contains(&"still sent".to_owned()) && lines.contains(&"new".to_owned()),
        "{lines:?}"
    );
}
