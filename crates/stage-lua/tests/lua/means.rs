//! The five means, as the FAQ writes them.

use std::time::Duration;

use stage_lua::Options;

use crate::harness::{run, run_with};

fn position(lines: &[String], line: &str) -> usize {
    lines.iter().position(|l| l == line).unwrap_or_else(|| panic!("{line:?} is not in {lines:?}"))
}

#[test]
fn a_ticket_runs_its_callback() {
    let lines = run(r#"
        stage.waitfor("login_callback", function (a)
            print("LOGIN_CALLBACK", a)
        end)

        stage.signal("ticket:login=login_callback", "CHECK")
    "#);
    assert_eq!(lines, ["LOGIN_CALLBACK\tCHECK"]);
}

#[test]
fn a_busy_key_waits_and_key_zero_does_not() {
    let lines = run(r#"
        local function run(v)
            print("THREAD RUN", v)
            sleep(0.2)
        end
        stage.submit(1234, run, "HELLO")
        stage.submit(0, run, "RUN")
        stage.submit(1234, run, "WORLD")
    "#);
    assert_eq!(lines.len(), 3);
    assert_eq!(position(&lines, "THREAD RUN\tWORLD"), 2);
}

#[test]
fn a_shipped_function_runs_and_its_result_comes_back() {
    let lines = run(r#"
        stage.waitfor("result", function (r)
           print("RESULT:", r)
        end)

        stage.signal("stage:callback=result", function(v)
            print("THREAD RUN", v)
            return "RESULT:" .. v
        end, "HELLO")
    "#);
    assert_eq!(lines, ["THREAD RUN\tHELLO", "RESULT:\tRESULT:HELLO"]);
}

#[test]
fn a_registered_handler_gets_the_function_itself() {
    let lines = run(r#"
        stage.waitfor("callback", function (fn, v) return "handled " .. fn(v) end)
        stage.waitfor("result", print)
        stage.signal("stage:callback=result", function(v) return v .. "!" end, "HELLO")
    "#);
    assert_eq!(lines, ["handled HELLO!"]);
}

#[test]
fn only_one_ticket_handler_runs_at_a_time_by_default() {
    let lines = run(r#"
        local running, most, done = 0, 0, 0
        stage.waitfor("work", function()
            running = running + 1
            most = math.max(most, running)
            sleep(0.01)
            running = running - 1
            done = done + 1
            if done == 10 then print(most, done) end
        end)
        for i = 1, 10 do stage.signal("ticket:one=work") end
    "#);
    assert_eq!(lines, ["1\t10"]);
}

#[test]
fn feedback_hears_of_the_grant_and_the_handler_knows_its_ticket() {
    let lines = run(r#"
        local id
        stage.waitfor("granted", function(ok, ticket) id = ticket print(ok, type(ticket)) end)
        stage.waitfor("work", function() print(_TICKET == id, _TICKET ~= nil) stage.signal(nil, 500) end)
        stage.signal("ticket:t=work?granted")
    "#);
    assert_eq!(lines, ["true\tstring", "true\ttrue"]);
}

#[test]
fn ask_waits_for_the_reply_while_others_run() {
    let lines = run(r#"
        stage.waitfor("slow", function(v) sleep(0.1) return v * 2, "ok" end)
        stage.waitfor("quick", function() print("quick") end)
        stage.waitfor("go", function() print(stage.ask("slow", 21)) end)
        stage.signal("go")
        stage.signal("quick")
    "#);
    assert_eq!(lines, ["quick", "42\tok"]);
}

#[test]
fn a_handler_may_reply_before_its_end() {
    let lines = run(r#"
        stage.waitfor("early", function() stage.signal(nil, "early") sleep(0.05) print("end") return "late" end)
        stage.waitfor("go", function() print(stage.ask("early")) end)
        stage.signal("go")
    "#);
    assert_eq!(lines, ["early", "end"]);
}

#[test]
fn a_task_repeats_while_it_returns_a_number_and_cancels() {
    let lines = run(r#"
        local n = 0
        stage.waitfor("hold", function() sleep(0.5) end)
        stage.signal("hold")
        stage.addtask(10, function(what) n = n + 1 print(what, n) if n < 3 then return 10 end end, "tick")
        local never = stage.addtask(50, function() print("never") end)
        print(never:cancel(), never:cancel())
    "#);
    assert_eq!(lines, ["true\tfalse", "tick\t1", "tick\t2", "tick\t3"]);
}

#[test]
fn a_submitted_function_runs_again_while_it_returns_a_number() {
    let lines = run(r#"
        _SANDBOX[""] = { "*RUNS" }
        RUNS = 0
        stage.submit(7, function()
            local runs = __("RUNS", function(n) return n + 1 end)
            print("run", runs)
            return runs < 3 and 5 or 0
        end)
    "#);
    assert_eq!(lines, ["run\t1", "run\t2", "run\t3"]);
}

#[test]
fn a_signal_of_a_submitted_function_replies_to_its_submitter() {
    let lines = run(r#"
        local who = "script"
        stage.waitfor("double", function(v) return v * 2 end)
        stage.waitfor("doubled", function(v) print(who, v) end)
        stage.submit(0, function(v) stage.signal("double=doubled", v) print("asked", stage.ask("double", v)) end, 4)
    "#);
    assert_eq!(lines.len(), 2);
    position(&lines, "script\t8");
    position(&lines, "asked\t8");
}

#[test]
fn prefix_handlers_hear_what_has_no_closer_one() {
    let lines = run(r#"
        stage.waitfor("room.", function(v) print("any", _WAITFOR.id, v) end)
        stage.waitfor("room.join", function(v) print("join", v) end)
        stage.signal("room.join", 1)
        stage.signal("room.leave", 2)
    "#);
    assert_eq!(lines, ["join\t1", "any\troom.leave\t2"]);
}

#[test]
fn bound_arguments_come_before_those_of_the_message() {
    let lines = run(r#"
        local id = stage.waitfor(function(a, b) print(a, b) end, "bound")
        stage.signal(":" .. id, "sent")
        stage.waitfor("gone", print)
        stage.waitfor("gone", nil)
        stage.waitfor("lost", function(reason) print(reason) end)
        stage.signal("gone!lost")
    "#);
    assert_eq!(lines, ["bound\tsent", "no_handler"]);
}

#[test]
fn a_wait_within_a_scripts_own_coroutine_is_a_wait_of_the_handler() {
    let lines = run(r#"
        stage.waitfor("double", function(v) sleep(0.02) return v * 2 end)
        stage.waitfor("quick", function() print("quick") end)
        stage.waitfor("go", function()
            local numbers = coroutine.wrap(function()
                for i = 1, 2 do sleep(0.02) coroutine.yield(stage.ask("double", i)) end
                return "end"
            end)
            print(numbers(), numbers(), numbers())
            local co = coroutine.create(function() sleep(0.01) error("boom") end)
            print(coroutine.resume(co))
            print(coroutine.status(co), coroutine.resume(co))
            print(pcall(coroutine.wrap(function() sleep(0.01) error({}) end)))
        end)
        stage.signal("go")
        stage.signal("quick")
    "#);
    assert_eq!(lines[..2], ["quick", "2\t4\tend"]);
    assert_eq!(lines[2], "false\tmain.lua:10: boom");
    assert_eq!(lines[3], "dead\tfalse\tcannot resume dead coroutine");
    assert!(lines[4].starts_with("false\ttable: "), "{lines:?}");
}

#[test]
fn an_address_may_come_with_options_and_wrong_ones_are_named() {
    let lines = run(r#"
        stage.waitfor("double", function(n) return 2 * n end)
        stage.waitfor("go", function()
            print(stage.ask({ "double", idempotent = true }, 4), stage.ask({ "double" }, 5))
            local function refusal(address)
                print((select(2, pcall(stage.ask, address, 1)):gsub("\n.*", "")))
            end
            refusal({ "double", idempotent = 1 })
            refusal({ "double", retries = 3 })
            refusal({ idempotent = true })
            refusal({ "ticket:t=double", idempotent = true })
        end)
        stage.signal({ "go", idempotent = false })
    "#);
    assert_eq!(lines[0], "8	10");
    assert!(lines[1].contains("and not 'idempotent'"), "{lines:?}");
    assert!(lines[2].contains("and not 'retries'"), "{lines:?}");
    assert!(lines[3].contains("address expected, got table"), "{lines:?}");
    assert!(lines[4].contains("is no signal that could run twice"), "{lines:?}");
}

#[test]
fn a_ticket_is_extended_by_any_number_above_zero() {
    let lines = run(r#"
        stage.waitfor("work", function()
            print(pcall(stage.signal, nil, 500), pcall(stage.signal, nil, 500.5))
            print((select(2, pcall(stage.signal, nil, 0/0)):gsub("\n.*", "")))
            print((select(2, pcall(stage.signal, nil, -5)):gsub("\n.*", "")))
        end)
        stage.signal("ticket:t=work")
    "#);
    assert_eq!(lines[0], "true\ttrue");
    assert!(lines[1].contains("milliseconds above 0, not by"), "{lines:?}");
    assert!(lines[2].ends_with("not by -5"), "{lines:?}");
}

#[test]
fn a_submitted_job_cannot_free_its_key_before_its_end() {
    let lines = run(r#"
        stage.submit(7, function() print(pcall(stage.signal, nil, 1)) sleep(0.1) print("A ends") end)
        stage.submit(7, function() print("B begins") end)
    "#);
    assert!(lines[0].starts_with("false\t"), "{lines:?}");
    assert_eq!(lines[1..], ["A ends", "B begins"]);
}

#[test]
fn a_shipped_function_may_reply_before_its_end() {
    let lines = run(r#"
        stage.waitfor("replied", function(v) print("replied", v) end)
        stage.signal("stage:none=replied", function() stage.signal(nil, "early") sleep(0.1) print("end") return "late" end)
    "#);
    assert_eq!(lines, ["replied\tearly", "end"]);
}

#[test]
fn a_coroutine_that_waits_cannot_be_resumed_by_another_handler() {
    let lines = run(r#"
        local co = coroutine.create(function() sleep(0.1) return "done" end)
        stage.waitfor("a", function() print("A", coroutine.resume(co)) end)
        stage.waitfor("b", function() print("B", coroutine.resume(co)) end)
        stage.signal("a")
        stage.signal("b")
    "#);
    assert_eq!(lines, ["B\tfalse\tcannot resume non-suspended coroutine", "A\ttrue\tdone"]);
}

#[test]
fn a_ticket_without_a_callback_tells_its_feedback_handler() {
    let lines = run(r#"
        stage.waitfor("told", function(ok, why) print(ok, why) end)
        stage.signal("ticket:t=nothere?told")
    "#);
    assert_eq!(lines, ["false\tno handler 'nothere' for the ticket"]);
}

#[test]
fn a_broadcast_is_heard_once_by_a_vm_however_many_tickets_it_holds() {
    let lines = run(r#"
        stage.signal("ticket:@raid", 3)
        local heard, fighting, over = 0, 0, false
        stage.waitfor("ticket:raid", function(...) heard = heard + 1 print("heard", ...) end)
        stage.waitfor("fight", function()
            fighting = fighting + 1
            while not over do sleep(0.005) end
        end)
        stage.waitfor("main", function()
            for i = 1, 3 do stage.signal("ticket:raid=fight") end
            while fighting < 3 do sleep(0.005) end
            stage.signal("ticket:=raid", "boss", 7)
            stage.signal("ticket:=raid", "again")
            while heard < 2 do sleep(0.005) end
            sleep(0.05) -- what is heard twice comes now
            over = true
            sleep(0.3)
            stage.signal("ticket:=raid", "too late")
        end)
        stage.signal("main")
    "#);
    assert_eq!(lines, ["heard\tboss\t7", "heard\tagain"]);
}

#[test]
fn a_broadcast_that_is_too_long_reaches_nobody_and_a_shorter_one_after_it_does() {
    let lines = run(r#"
        local heard = false
        stage.waitfor("ticket:raid", function(text) heard = true print("heard", #text) end)
        stage.waitfor("fight", function()
            stage.signal("ticket:=raid", ("x"):rep(65536))
            stage.signal("ticket:=raid", ("x"):rep(65000))
            while not heard do sleep(0.005) end
        end)
        stage.signal("ticket:raid=fight")
    "#);
    assert_eq!(lines, ["heard\t65000"]);
}

#[test]
fn a_category_is_altered_before_what_its_script_asks_for_next() {
    let lines = run(r#"
        stage.waitfor("enter", function() print("in") sleep(0.1) end)
        stage.waitfor("told", function(ok, why) if not ok then print(why) end end)
        stage.signal("ticket:@door", -1)
        stage.signal("ticket:door=enter?told")
        stage.signal("ticket:door=enter?told")
    "#);
    assert_eq!(lines, ["in", "all 1 permits of door are out"]);
}

#[test]
fn a_reply_may_come_later_from_elsewhere_and_once() {
    let lines = run(r#"
        stage.waitfor("match", function(name)
          local reply = _WAITFOR.reply
          assert(reply == _WAITFOR.reply)
          stage.submit(1, function(reply, name)
            sleep(0.02)
            stage.signal(reply, "found", name)
            stage.signal(reply .. "!late", "again")
          end, reply, name)
          return "ignored"
        end)
        stage.waitfor("late", function(reason) print("late", reason) end)
        stage.waitfor("nobody", function() print("nobody", _WAITFOR.reply) end)
        stage.waitfor("fails", function() local r = _WAITFOR.reply error("no") end)
        stage.waitfor("now", function() local r = _WAITFOR.reply stage.signal(nil, "at once") end)
        stage.waitfor("answered", function(...) print("answered", ...) end)
        stage.waitfor("main", function()
          print(stage.ask("match", "kim"))
          stage.signal("match=answered", "lee")
          stage.signal("nobody")
          print(select(2, pcall(stage.ask, "fails")))
          print(stage.ask("now"))
          sleep(0.1)
        end)
        stage.signal("main")
    "#);
    let mut lines: Vec<_> = lines.iter().map(String::as_str).collect();
    lines.sort_unstable();
    let fails = "main.lua:21: fails: handler: handler 'fails': main.lua:14: no";
    let expected = [
        "answered\tfound\tlee",
        "at once",
        "found\tkim",
        "late\tno_handler",
        "late\tno_handler",
        fails,
        "nobody\tnil",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_reply_that_never_comes_ends_with_its_deadline_and_leaves_no_handler() {
    let options = Options { ask_timeout: Duration::from_millis(50), ..Options::default() };
    let lines = run_with(
        &options,
        r#"
        stage.waitfor("never", function() kept = _WAITFOR.reply end)
        stage.waitfor("gone", function(reason) print(reason) end)
        stage.waitfor("main", function()
          print((pcall(stage.ask, "never")))
          sleep(0.05)
          stage.signal(kept .. "!gone", 1)
        end)
        stage.signal("main")
    "#,
    )
    .unwrap();
    assert_eq!(lines, ["false", "no_handler"]);
}
