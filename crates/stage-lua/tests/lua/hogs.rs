//! Handlers that do not give their VM back: others run in between, and past the limit they end.

use std::time::Duration;

use stage_lua::Options;

use crate::harness::{run, run_with};

/// Room for a hog to be preempted several times before it is ended.
pub(crate) fn options() -> Options {
    let (quantum, busy_time) = (Duration::from_millis(5), Duration::from_millis(250));
    Options { quantum, busy_time, ..Options::default() }
}

/// Runs a hog beside a handler that sleeps and wakes in the same VM, and what is printed.
fn beside(hog: &str) -> Vec<String> {
    let script = format!(
        r#"
        HOG_IS_RUNNING = false
        stage.waitfor("hog", function()
            HOG_IS_RUNNING = true
            {hog}
            HOG_IS_RUNNING = false
        end)
        stage.waitfor("neighbour", function()
            sleep(0.01)
            if HOG_IS_RUNNING then print("in between") end
        end)
        stage.waitfor("after", function() print("still here") end)
        stage.waitfor("ended", function(ok, err)
            print(ok, (tostring(err):gsub("\n.*", "")))
            stage.signal("after")
        end)
        stage.addtask(2, function()
            -- Right before the hog: however slow the machine, the neighbour wakes while it runs.
            stage.signal("neighbour")
            stage.signal("ended", pcall(stage.ask, "hog"))
        end)
        "#
    );
    run_with(&options(), &script).unwrap()
}

pub(crate) fn is_ended(hog: &str) {
    let lines = beside(hog);
    let text = lines.join("\n");
    assert!(text.contains("false\t"), "{hog}: {text}");
    assert!(text.contains("it has computed for longer"), "{hog}: {text}");
    assert!(text.contains("main.lua:"), "{hog}: {text}");
    assert!(lines.contains(&"still here".to_owned()), "{hog}: {text}");
}

pub(crate) fn is_paused_and_ended(hog: &str) {
    is_ended(hog);
    assert!(beside(hog).contains(&"in between".to_owned()), "{hog}: nobody ran in between");
}

#[test]
fn an_endless_loop_is_paused_and_ended() {
    is_paused_and_ended("while true do end");
}

#[test]
fn a_profile_finds_a_hog_and_neither_saves_nor_hides_it() {
    let _alone = crate::profile::alone();
    let profiler = stage_lua::Profiler::start(1000).unwrap();
    is_paused_and_ended("while true do end");
    let profile = profiler.finish();
    let lines = profile.lines();
    // The hog's line in the script of `beside`.
    assert!(lines[0].place.starts_with("main.lua:5"), "{}", profile.folded());
    assert!(lines[0].own >= 10, "{}", profile.folded());
}

#[test]
fn pcall_swallows_no_end() {
    is_paused_and_ended("while true do pcall(function() while true do end end) end");
}

#[test]
fn an_endless_message_handler_is_ended() {
    is_ended("while true do xpcall(error, function() while true do end end) end");
}

#[test]
fn metamethods_are_paused_and_ended() {
    is_paused_and_ended(
        "local t = setmetatable({}, { __index = function() while true do end end }) local _ = t.x",
    );
    is_paused_and_ended(
        "local t = setmetatable({}, { __lt = function() return false end }) while not (t < t) do end",
    );
}

#[test]
fn coroutines_of_the_script_are_paused_and_ended() {
    is_paused_and_ended("coroutine.wrap(function() while true do end end)()");
    is_paused_and_ended("while true do coroutine.resume(coroutine.create(function() end)) end");
    is_paused_and_ended(
        "local function deep(n) if n == 0 then while true do end end
         return coroutine.wrap(deep)(n - 1) end deep(5)",
    );
}

#[test]
fn what_cannot_be_paused_is_ended() {
    is_ended(
        "local t = {} for i = 1, 100 do t[i] = i end
         while true do table.sort(t, function(a, b) while true do end end) end",
    );
    is_ended("string.gsub('aaa', 'a', function() while true do end end)");
    is_ended(
        "table.sort({3, 2, 1}, function(a, b)
           return coroutine.wrap(function() while true do end end)() end)",
    );
}

#[test]
fn patterns_that_try_for_ever_are_paused_and_ended() {
    for call in [
        "s:find('a-a-a-a-a-a-b')",
        "s:match('(a*)(a*)(a*)(a*)b')",
        "for _ in s:gmatch('a*a*a*a*b') do end",
        "s:gsub('.-.-.-.-b', '')",
        "pcall(string.find, s, ('a?'):rep(40) .. ('a'):rep(40) .. 'b')",
        "s:find('^(a*)(a*)(a*)(a*)%1%2%3b')",
        "coroutine.wrap(function() s:find('a*a*a*a*a*b') end)()",
    ] {
        is_paused_and_ended(&format!("local s = ('a'):rep(10000) {call}"));
    }
    is_ended("table.sort({ 2, 1 }, function() return (('a'):rep(10000)):find('a*a*a*a*a*b') end)");
}

#[test]
fn walks_over_what_is_not_there_are_paused_and_ended() {
    let long = "local t = setmetatable({}, { __len = function() return 1 << 60 end })";
    for call in ["table.insert(t, 1, 'x')", "table.remove(t, 1)", "table.move({}, 1, 1 << 60, 2)"] {
        is_paused_and_ended(&format!("{long} {call}"));
    }
    let full = "{ __len = function() return 1 << 60 end, __index = function() return '' end }";
    is_paused_and_ended(&format!("table.concat(setmetatable({{}}, {full}))"));
}

#[test]
fn comparisons_of_long_strings_are_paused_and_ended() {
    is_paused_and_ended(
        "local s, t = ('x'):rep(1000):rep(60000), {} for i = 1, 99999 do t[i] = s end table.sort(t)",
    );
}

#[test]
fn a_long_text_is_found_or_not_in_a_longer_one_at_once() {
    let lines = run(r##"
        local s = ("^"):rep(1000):rep(60000)
        print(s:find(("^"):rep(3e6) .. "b", 1, true), s:find(("^"):rep(3e6), 5, true))
        local known = ("^"):rep(200) .. "b"
        print(("x"):find(known), s:find(known, 1, true), (s .. "b"):find(known, -201, true))
        print((("aaab"):find("ab", 1, true)), (("a.b"):find(".", 1, true)), (("a"):find("", 9, true)))
    "##);
    assert_eq!(lines, ["nil\t5\t3000004", "nil\tnil\t59999801\t60000001", "3\t2\tnil"]);
}

#[test]
fn a_pattern_is_refused_that_would_take_the_hosts_memory() {
    let lines = run(r#"
        local long = ("a"):rep(64 << 20)
        print(string.find("x", long, 1, true), string.find("x", long), #long == long:find("a$"))
        for _, call in ipairs { "find", "match", "gmatch", "gsub" } do
          local ok, e = pcall(function()
            local step = string[call]("x", long .. ".", call == "gsub" and "" or nil)
            if call == "gmatch" then step() end
          end)
          print(ok or e:match("pattern too long: at most 65536 bytes"))
        end
        print(string.find(("a"):rep(70000) .. "b", ("a"):rep(65537) .. "b"))
    "#);
    let refused = "pattern too long: at most 65536 bytes";
    assert_eq!(lines, ["nil\tnil\ttrue", refused, refused, refused, refused, "4464\t70001"]);
}

#[test]
fn values_from_a_long_row_of_tables_are_paused_and_ended() {
    let row = "local t = {} for i = 1, 1999 do t = setmetatable({}, { __index = t }) end";
    is_paused_and_ended(&format!("{row} table.unpack(t, 1, 9e5)"));
    let lines = run(r##"
        local t = setmetatable({ 1, nil, 3 }, { __len = function() return 4 end, __index = function(_, i) return -i end })
        print(table.unpack(t))
        print(table.unpack(t, 3, 6))
        print(table.unpack(t, "2", 2.0))
        print(select("#", table.unpack(t, 3, 2)), select("#", table.unpack(t, -1, 1)))
        print(pcall(table.unpack, t, 1, 1 << 40))
        print(pcall(table.unpack, t, math.mininteger, math.maxinteger))
        print(pcall(table.unpack, t, {}))
        print(pcall(table.unpack, t, 1.5))
    "##);
    let expected = [
        "1\t-2\t3\t-4",
        "3\t-4\t-5\t-6",
        "-2",
        "0\t3",
        "false\ttoo many results to unpack",
        "false\ttoo many results to unpack",
        "false\tbad argument #2 to 'unpack' (number expected, got table)",
        "false\tbad argument #2 to 'unpack' (number has no integer representation)",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn remove_without_a_place_takes_the_last() {
    let lines = run(r#"
        local t = setmetatable({ 1, 2 }, {})
        print(table.remove(t, nil), #t, table.remove(t), #t, table.remove(t, nil), #t)
    "#);
    assert_eq!(lines, ["2\t1\t1\t0\tnil\t0"]);
}

#[test]
fn what_would_be_gigantic_is_refused() {
    let lines = run(r#"
        print(pcall(string.rep, 1, 5e8))
        print(pcall(string.rep, "", 5e8, 1))
        print(string.rep(1, 3, 0), string.rep(1.5, 2))
        print(pcall(string.rep, "x", 1 << 40))
        print(pcall(string.rep, "x", 2, ("y"):rep(50 << 20)))
        print(#string.rep("", 1 << 60), #string.rep("ab", 3, ","), #string.rep("x", -1), #string.rep("x", "3"))
        print(load(function() return ("x"):rep(1 << 20) end))
        "#);
    let large = "false\tresulting string too large: at most 67108864 bytes";
    let refused = "nil\tload takes a text of at most 16777216 bytes";
    assert_eq!(lines, [large, large, "10101\t1.51.5", large, large, "0\t8\t0\t3", refused]);
}

#[test]
fn a_preempted_coroutine_goes_on_where_it_was_and_gives_what_it_would_have_given() {
    let lines = beside(
        r##"
        local co = coroutine.wrap(function(a)
            for round = 1, 3 do
                local sum = 0
                for i = 1, 600000 do sum = sum + 1 end
                a = a + coroutine.yield(sum + a)
            end
            coroutine.yield()
            return "end"
        end)
        print("sums", co(1), co(10), co(100))
        print("none", select("#", co(1000)), co())
        "##,
    );
    let text = lines.join("\n");
    assert!(text.contains("sums\t600001\t600011\t600111"), "{text}");
    assert!(text.contains("none\t0\tend"), "{text}");
    assert!(text.contains("true"), "{text}");
}

#[test]
fn a_handler_that_waits_now_and_then_may_compute_for_long_in_all() {
    let lines = beside(
        "local began = os.clock()
         while os.clock() - began < 0.4 do
             for i = 1, 100000 do end
             sleep(0.001)
         end
         print('done')",
    );
    assert!(lines.contains(&"done".to_owned()), "{lines:?}");
}

#[test]
fn a_script_that_never_gets_done_does_not_start() {
    let options = Options { handler_time: Duration::from_millis(100), ..options() };
    let error = run_with(&options, "print('begun')\nwhile true do end").unwrap_err().to_string();
    assert!(error.contains("main.lua:2: stopped: it has computed"), "{error}");
}

#[test]
fn a_hog_on_a_worker_gives_its_key_back() {
    let lines = run_with(
        &options(),
        r#"
        stage.submit("k", function() while true do end end)
        stage.submit("k", function() print("next of the key") end)
        "#,
    );
    assert_eq!(lines.unwrap(), ["next of the key"]);
}

#[test]
fn a_hog_with_a_ticket_gives_it_back() {
    let lines = run_with(
        &options(),
        r#"
        stage.waitfor("work", function(what)
            print(what)
            while what == "hog" do end
        end)
        stage.signal("ticket:t=work", "hog")
        stage.signal("ticket:t=work", "next")
        "#,
    );
    assert_eq!(lines.unwrap(), ["hog", "next"]);
}

#[test]
fn a_handler_that_takes_too_much_memory_is_ended_and_the_others_keep_theirs() {
    let lines = run_with(
        &Options {
            handler_memory: 16 << 20,
            vm_memory: 256 << 20,
            busy_time: Duration::from_secs(60),
            ..Options::default()
        },
        r#"
        KEPT = {}
        for i = 1, 32 do KEPT[i] = ("x"):rep((1 << 20) + i) end -- a script may
        stage.waitfor("computes", function()
          local all = {}
          while true do all[#all + 1] = ("x"):rep(100 + #all % 50) .. #all end
        end)
        stage.waitfor("waits", function()
          local all = {}
          for i = 1, 100 do
            all[i] = ("x"):rep((1 << 20) + i)
            sleep(0.001)
          end
        end)
        stage.waitfor("frees", function()
          for i = 1, 100 do
            local made = ("y"):rep((4 << 20) + i)
            if i % 10 == 0 then sleep(0.001) end
          end
          return "frees what it takes"
        end)
        stage.waitfor("main", function()
          for _, name in ipairs { "computes", "waits", "frees" } do
            print(name, (select(2, pcall(stage.ask, name)):gsub("\n.*", "")))
          end
          print(#KEPT)
        end)
        stage.signal("main")
        "#,
    )
    .unwrap();
    let ended = "stopped: it has taken more than 16777216 bytes of memory";
    assert!(lines[0].starts_with("computes") && lines[0].contains(ended), "{lines:?}");
    assert!(lines[0].contains("main.lua:6: stopped"), "where it was paused: {lines:?}");
    assert!(lines[1].starts_with("waits") && lines[1].contains(ended), "{lines:?}");
    assert_eq!(lines[2..], ["frees\tfrees what it takes", "32"]);
}

#[test]
fn the_place_of_a_pause_is_the_authors_and_not_one_within_the_library() {
    let (busy_time, quantum) = (Duration::from_secs(10), Duration::from_millis(1));
    let lines = run_with(
        &Options { handler_memory: 1 << 20, busy_time, quantum, ..Options::default() },
        r#"
        local t = setmetatable({}, {})
        for i = 1, 1000000 do t[i] = "x" end
        stage.waitfor("computes", function()
            while true do
                table.concat(t)
            end
        end)
        stage.waitfor("failed", function(_, _, detail) print(detail) end)
        stage.signal("computes!failed")
        "#,
    )
    .unwrap();
    assert!(lines[0].contains("main.lua:6: stopped"), "{lines:?}");
}

#[test]
fn runaway_recursion_and_memory_are_errors() {
    let lines = run_with(
        &Options { vm_memory: 64 << 20, ..Options::default() },
        r#"
        local function deep() return 1 + deep() end
        print(pcall(deep))
        print(pcall(string.rep, "x", 1 << 30))
        local function nested(n) return pcall(nested, n + 1) end
        print(nested(1))
        local t = setmetatable({}, {})
        getmetatable(t).__index = t
        print(pcall(function() return t.x end))
        "#,
    );
    let text = lines.unwrap().join("\n");
    assert!(text.contains("stack overflow"), "{text}");
    assert!(text.contains("not enough memory"), "{text}");
    assert!(text.contains("loop"), "{text}");
}

#[test]
fn what_nothing_could_end_is_refused() {
    let close =
        "local x <close> = setmetatable({}, { __close = function() while true do end end })";
    let error = run_with(&options(), close).unwrap_err().to_string();
    assert!(error.contains("main.lua:1: <close> is not available"), "{error}");
    let lines = run_with(
        &options(),
        r#"
        print(load("local a\n, x < --[[ ]] close\n> = nil"))
        print(load("local close, b = 1, 2 return 0 < close, close > b, '<close>'")())
        print((select(2, pcall(setmetatable, {}, { __gc = print })):gsub("\n.*", "")))
        "#,
    );
    let text = lines.unwrap().join("\n");
    assert!(text.contains(":3: <close> is not available"), "{text}");
    assert!(text.contains("true\tfalse\t<close>"), "{text}");
    assert!(text.contains("__gc is not available"), "{text}");
}

#[test]
fn handlers_that_overrun_their_quantum_end_in_the_order_they_came() {
    let lines = run_with(
        &Options { quantum: Duration::from_millis(2), ..Options::default() },
        r#"
        local started, ended = 0, 0
        stage.waitfor("work", function(n)
            started = started + 1
            local till = os.clock() + 0.006
            while os.clock() < till do end
            ended = ended + 1
            if n == 10 then print("ahead", started - ended < 20) end
        end)
        for n = 1, 40 do stage.signal("work", n) end
        "#,
    );
    assert_eq!(lines.unwrap(), ["ahead\ttrue"]);
}

#[test]
fn an_error_object_that_is_never_done_with_its_text_is_ended() {
    let object = "setmetatable({}, { __tostring = function() while true do end end })";
    is_ended(&format!("error({object})"));
    is_ended(&format!("coroutine.wrap(function() error({object}) end)()"));
}

#[test]
fn a_wait_that_begins_past_the_quantum_hears_of_its_end() {
    let lines = run(r#"
        stage.waitfor("count", function(list) return #list end)
        stage.waitfor("main", function()
            local list = {}
            for i = 1, 100000 do list[i] = i end
            -- To pack it takes longer than a quantum, and the answer comes while others run.
            for _ = 1, 5 do print(stage.ask("count", list)) end
        end)
        stage.signal("main")
    "#);
    assert_eq!(lines, ["100000"; 5]);
}
