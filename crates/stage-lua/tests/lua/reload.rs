use crate::harness::{Live, run_instances, start_error};

#[tokio::test]
async fn a_changed_script_takes_the_place_of_the_one_before_and_its_globals_stay() {
    let live = Live::start(
        1,
        &[(
            "main.lua",
            r#"
            visits = visits or 0
            stage.waitfor("tell", function() visits = visits + 1 print("one", visits) end)
            stage.waitfor("gone", function() end)
            "#,
        )],
    )
    .await;
    assert_eq!(live.tell().await, ["one\t1"]);
    let two = r#"
        visits = visits or 0
        stage.waitfor("tell", function()
          visits = visits + 1
          print("two", visits, (pcall(stage.call, "gone")))
        end)
    "#;
    live.change("main.lua", two, 1).await;
    assert_eq!(live.tell().await, ["two\t2\tfalse"]);
    assert_eq!(live.reloads(), (1, 0));
}

#[tokio::test]
async fn a_script_that_does_not_compile_or_fails_changes_nothing_and_a_mended_one_is_taken() {
    let one = r#"
        word = "one"
        function helper() return word end
        stage.waitfor("tell", function() print(helper(), new) end)
    "#;
    let live = Live::start(1, &[("main.lua", one)]).await;
    live.change("main.lua", "stage.waitfor(", 1).await;
    assert_eq!(live.tell().await, ["one\tnil"]);
    let failing = r#"
        word = "half"
        new = "new"
        helper = nil
        stage.waitfor("tell", function() print("of the failed one") end)
        error("no")
    "#;
    live.change("main.lua", failing, 1).await;
    assert_eq!(live.tell().await, ["one\tnil"]);
    assert_eq!(live.reloads(), (0, 2));
    live.change("main.lua", r#"stage.waitfor("tell", function() print("mended", word) end)"#, 1)
        .await;
    assert_eq!(live.tell().await, ["mended\tone"]);
}

#[tokio::test]
async fn a_handler_under_way_ends_on_the_code_it_began_on_and_may_still_send_its_functions() {
    let one = r#"
        stage.waitfor("tell", function()
          print("begins")
          while not go do sleep(0.01) end
          local function add(n) return n + 1 end
          stage.submit(1, function() print("of one", add(1)) end)
        end)
    "#;
    let live = Live::start(1, &[("main.lua", one)]).await;
    live.runtime.tell(&stage_lua::Event { name: "tell".into(), args: Vec::new() });
    live.wait_until(|| live.lines() == ["begins"]).await;
    live.change("main.lua", "go = true stage.waitfor('tell', print)", 1).await;
    live.wait_until(|| live.lines() == ["begins", "of one\t2"]).await;
}

#[tokio::test]
async fn what_the_script_itself_started_stops_and_what_its_handlers_started_goes_on() {
    let one = r#"
        ticks = { script = 0, handler = 0, main = 0 }
        stage.addtask(1, function() ticks.script = ticks.script + 1 return 1 end)
        stage.waitfor("begin", function()
          stage.addtask(1, function() ticks.handler = ticks.handler + 1 return 1 end)
        end)
        stage.waitfor("temporary", function() stage.waitfor("kept", function() return "kept" end) end)
        stage.signal("begin")
        stage.signal("temporary")
        while true do
          sleep(0.001)
          ticks.main = ticks.main + 1
        end
    "#;
    let live = Live::start(1, &[("main.lua", one)]).await;
    let two = r#"
        stage.waitfor("tell", function()
          local before = { script = ticks.script, handler = ticks.handler, main = ticks.main }
          sleep(0.2)
          for _, who in ipairs { "script", "handler", "main" } do
            print(who, ticks[who] > before[who])
          end
          print(stage.call("kept"))
        end)
    "#;
    live.change("main.lua", two, 1).await;
    assert_eq!(live.tell().await, ["script\tfalse", "handler\ttrue", "main\tfalse", "kept"]);
}

#[tokio::test]
async fn shared_variables_keep_what_handlers_have_written() {
    let one = r#"
        SCORES = { kim = 1 }
        _SANDBOX[""] = { "*SCORES" }
        stage.waitfor("tell", function()
          __("SCORES", "kim", function(n) return n + 1 end)
          print(SCORES.kim)
        end)
    "#;
    let live = Live::start(1, &[("main.lua", one)]).await;
    assert_eq!(live.tell().await, ["2"]);
    live.change("main.lua", &format!("{one}\n"), 1).await;
    assert_eq!(live.tell().await, ["3"]);
}

#[tokio::test]
async fn every_instance_takes_up_the_change() {
    let script = |word| format!("stage.waitfor('tell', function() print('{word}') end)");
    let live = Live::start(3, &[("main.lua", &script("one"))]).await;
    live.change("main.lua", &script("two"), 3).await;
    assert_eq!(live.tell().await, ["two"; 3]);
}

#[tokio::test]
async fn a_module_runs_once_and_a_change_of_it_begins_the_script_anew() {
    let main = r#"
        print("main")
        local money = stage.require("lib.money")
        assert(stage.require("lib.money") == money)
        stage.waitfor("tell", function() print(money.price(3)) end)
    "#;
    let money = r#"print("money", ...) return { price = function(n) return n * 2 end }"#;
    let live = Live::start(1, &[("main.lua", main), ("lib/money.lua", money)]).await;
    assert_eq!(live.lines(), ["main", "money\tlib.money"]);
    live.change("lib/money.lua", &money.replace('2', "10"), 1).await;
    assert_eq!(live.tell().await, ["30"]);
    live.change("lib/money.lua", "error('no money')", 1).await;
    assert_eq!(live.tell().await, ["30"]);
    assert_eq!(live.reloads(), (1, 1));
    live.change("lib/money.lua", &money.replace('2', "100"), 1).await;
    assert_eq!(live.tell().await, ["300"]);
}

#[tokio::test]
async fn a_loaded_module_is_taken_up_by_itself_and_whoever_asked_hears_of_it() {
    let main = r#"
        print("main")
        stage.load("rates", function(new, old)
          print("rates", new.of("kim"), old and old.of("kim"))
        end)
        stage.waitfor("tell", function() print(stage.load("rates").of("lee")) end)
    "#;
    let rates = |rate| format!("return {{ of = function(name) return name .. ' {rate}' end }}");
    let live = Live::start(1, &[("main.lua", main), ("rates.lua", &rates(1))]).await;
    live.change("rates.lua", &rates(2), 1).await;
    assert_eq!(live.lines(), ["main", "rates\tkim 1\tnil", "rates\tkim 2\tkim 1"]);
    assert_eq!(live.tell().await, ["lee 2"]);
    live.change("rates.lua", "return nothing.here", 1).await;
    assert_eq!(live.tell().await, ["lee 2"]);
    assert_eq!(live.reloads(), (1, 1));
}

#[tokio::test]
async fn an_older_copy_stands_in_for_a_module_that_fails_until_it_is_mended() {
    let main = r#"stage.waitfor("tell", function() print(stage.load("lib.rates")) end)"#;
    let files = [
        ("main.lua", main),
        ("lib/rates.lua", "return 1 +"),
        ("old/lib/rates.lua", "return 'old'"),
    ];
    let live = Live::start(1, &files).await;
    assert_eq!(live.tell().await, ["old"]);
    assert_eq!(live.reloads(), (0, 1));
    live.change("lib/rates.lua", "return 'mended'", 1).await;
    assert_eq!(live.tell().await, ["mended"]);
}

#[tokio::test]
async fn a_module_that_fails_without_an_older_copy_is_an_error_with_its_place() {
    let load = r#"stage.load("rates")"#;
    let error = Live::start_error(&[("main.lua", load), ("rates.lua", "\nreturn 1 + {}")]).await;
    assert!(
        error.contains("rates.lua:2: attempt to perform arithmetic on a table value"),
        "{error}"
    );
    let files =
        [("main.lua", load), ("rates.lua", "return 1 +"), ("old/rates.lua", "error('as well')")];
    let error = Live::start_error(&files).await;
    assert!(error.contains("rates.lua:1: unexpected symbol"), "{error}");
    assert!(error.contains("falls back on: ") && error.contains("as well"), "{error}");
    let error = Live::start_error(&[("main.lua", r#"stage.require("nowhere")"#)]).await;
    assert!(error.contains("module 'nowhere': cannot read the script"), "{error}");
    assert!(error.contains("nowhere.lua: No such file"), "{error}");
}

#[tokio::test]
async fn modules_that_require_each_other_in_a_circle_are_an_error_and_not_an_endless_loop() {
    let files = [
        ("main.lua", r#"stage.require("a")"#),
        ("a.lua", r#"return stage.require("b")"#),
        ("b.lua", r#"return stage.require("a")"#),
    ];
    let error = Live::start_error(&files).await;
    assert!(error.contains("module 'a' requires itself, by itself or over others"), "{error}");
}

#[tokio::test]
async fn a_module_that_has_failed_may_be_tried_again_and_one_that_waits_may_be_loaded_twice() {
    let main = r#"
        stage.waitfor("tell", function()
          print((pcall(stage.require, "fails")), (pcall(stage.require, "fails")))
          stage.addtask(0, function() print("task", stage.load("slow")) end)
          print("handler", stage.load("slow"))
        end)
    "#;
    let files = [
        ("main.lua", main),
        ("fails.lua", "tries = (tries or 0) + 1 if tries == 1 then error('no') end return tries"),
        ("slow.lua", "sleep(0.05) return 'slow'"),
    ];
    let live = Live::start(1, &files).await;
    let mut lines = live.tell().await;
    lines.sort();
    assert_eq!(lines, ["false\ttrue", "handler\tslow", "task\tslow"]);
}

#[tokio::test]
async fn a_module_may_be_compiled_from_text_alone_and_lies_within_the_folder() {
    let bytecode = "\u{1b}Lua";
    let error = Live::start_error(&[("main.lua", "stage.require('a')"), ("a.lua", bytecode)]).await;
    assert!(error.contains("a.lua: a script is text"), "{error}");
    let error = Live::start_error(&[("main.lua", "stage.require('../a')")]).await;
    assert!(
        error.contains("main.lua:1:") && error.contains("'../a' is no name of a module"),
        "{error}"
    );
    let error = Live::start_error(&[("main.lua", "stage.load(1)")]).await;
    assert!(error.contains("main.lua:1: bad argument #1 to 'load' (name of a module"), "{error}");
}

#[test]
fn a_script_of_no_file_and_a_function_that_was_sent_have_no_modules() {
    let error = start_error("stage.require('a')");
    assert!(error.contains("main.lua:1: this script is in no folder"), "{error}");
    let lines = run_instances(
        1,
        "stage.submit(1, function() print(select(2, pcall(stage.require, 'a'))) end)",
    );
    assert!(lines[0].contains("a function that was sent takes with it what it uses"), "{lines:?}");
}

#[tokio::test]
async fn what_is_saved_while_the_version_before_is_being_loaded_is_taken_up_too() {
    let main = r#"
        stage.load("m", function(m) word = m end)
        stage.waitfor("tell", function() print(word) end)
    "#;
    let live = Live::start(1, &[("main.lua", main), ("m.lua", "return 'one'")]).await;
    assert_eq!(live.tell().await, ["one"]);
    live.write("m.lua", "print('loads') sleep(1) return 'two'");
    live.wait_until(|| live.lines().contains(&"loads".to_owned())).await;
    live.write("m.lua", "return 'three'");
    live.wait_until(|| live.reloads() == (2, 0)).await;
    assert_eq!(live.tell().await, ["three"]);
}
