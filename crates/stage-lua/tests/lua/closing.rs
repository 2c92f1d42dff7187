//! What loops and coroutines close, and coroutines that start others, end with their handler.

use std::time::Duration;

use stage_lua::Options;

use crate::harness::{run, run_with};
use crate::hogs::{is_ended, is_paused_and_ended, options};

#[test]
fn coroutines_started_without_end_are_ended_with_the_handler() {
    let endless = "function() while true do end end";
    is_paused_and_ended(&format!(
        "while true do coroutine.resume(coroutine.create({endless})) end"
    ));
    is_paused_and_ended(&format!(
        "local function start() while true do pcall(coroutine.wrap({endless})) end end
         while true do pcall(coroutine.wrap(start)) end"
    ));
}

/// The loop's fourth value, which is closed when the loop is left.
const CLOSES: &str = "local c = setmetatable({}, { __close = function() while true do end end })";

#[test]
fn what_a_loop_closes_is_ended_when_an_error_leaves_it() {
    for body in ["error('x')", "local _ = nil + 1", "while true do end"] {
        is_ended(&format!("{CLOSES} for _ in next, {{ 1 }}, nil, c do {body} end"));
    }
    is_ended(&format!(
        "{CLOSES} pcall(coroutine.wrap(function() for _ in next, {{ 1 }}, nil, c do error('x') end end))
         for _ in next, {{ 1 }}, nil, c do break end"
    ));
}

#[test]
fn what_a_coroutine_closes_is_ended() {
    is_ended(&format!(
        "{CLOSES} local co = coroutine.create(function()
             for _ in next, {{ 1 }}, nil, c do coroutine.yield() end
         end)
         coroutine.resume(co) coroutine.close(co)"
    ));
    is_ended(&format!(
        "{CLOSES} local co = coroutine.create(function()
             for _ in next, {{ 1 }}, nil, c do error('x') end
         end)
         coroutine.resume(co) while true do coroutine.close(co) end"
    ));
}

#[test]
fn what_a_handler_closes_that_is_given_up_holds_nobody_up() {
    let options = Options { handler_time: Duration::from_millis(400), ..options() };
    let lines = run_with(
        &options,
        &format!(
            r#"
            stage.waitfor("waits", function()
                {CLOSES}
                for _ in next, {{ 1 }}, nil, c do sleep(10) end
            end)
            stage.waitfor("raises", function()
                local c = setmetatable({{}}, {{ __close = function() error("y") end }})
                for _ in next, {{ 1 }}, nil, c do local _ = nil + 1 end
            end)
            stage.waitfor("killed", function()
                {CLOSES}
                CO = coroutine.create(function() for _ in next, {{ 1 }}, nil, c do while true do end end end)
                coroutine.resume(CO)
            end)
            stage.waitfor("failed", function(_, address, detail)
                print(address, (detail:gsub("\n.*", "")))
                if address == "killed!failed" then
                    print(coroutine.status(CO), coroutine.close(CO))
                    stage.signal("waits!failed")
                end
            end)
            stage.signal("raises!failed")
            stage.signal("killed!failed")
            "#
        ),
    )
    .unwrap();
    assert!(lines[0].ends_with("main.lua:7: y"), "{lines:?}");
    assert!(lines[1].contains("it has computed for longer"), "{lines:?}");
    assert_eq!(lines[2], "dead\ttrue");
    assert!(lines[3].contains("stopped after 400 ms"), "{lines:?}");
}

#[test]
fn a_closed_coroutine_tells_of_its_error_as_lua_does() {
    let lines = run(r#"
        local closes = setmetatable({}, { __close = function(_, e) print("closed", e) end })
        local function dies() for _ in next, { 1 }, nil, closes do error("x", 0) end end
        local co = coroutine.create(dies)
        print(coroutine.resume(co))
        print(coroutine.close(co))
        print(coroutine.close(co))
        print(coroutine.close(coroutine.create(dies)))
        print(pcall(coroutine.close, coroutine.running()))
        print(pcall(coroutine.close, 1))
        print(pcall(function() for _ in next, { 1 }, nil, closes do error("x", 0) end end))
    "#);
    let text = lines.join("\n");
    let expected = "false\tx\nclosed\tx\nfalse\tx\ntrue\ntrue\nfalse\tcannot close a running coroutine\n\
        false\tbad argument #1 to 'close' (thread expected, got number)\nclosed\tx\nfalse\tx";
    assert_eq!(text, expected);
}
