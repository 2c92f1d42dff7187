//! `stage-node test`: scripts that test scripts, in virtual time.

use std::process::Output;

use crate::harness::{Folder, finish, stderr, stdout};

const LOBBY: &str = r#"
players = players or {}
stage.waitfor("join", function(name)
  if players[name] then return nil, "already in" end
  players[name] = true
  stage.addtask(60000, function() players[name] = nil end)
  return "welcome, " .. name
end)
"#;

fn test(folder: &Folder, more: &[&str]) -> (Output, String) {
    let path = folder.path().to_str().unwrap();
    let output = finish(&[&["test", path], more].concat());
    let text = stdout(&output).replace(&format!("{path}/"), "");
    (output, text)
}

#[test]
fn a_day_of_virtual_time_takes_none_and_every_test_begins_afresh() {
    let folder = Folder::new();
    folder.write("lobby.lua", LOBBY);
    folder.write(
        "lobby_test.lua",
        r#"
        stage.require("lobby")
        test("a player joins once", function()
          test.equal(stage.ask("join", "kim"), "welcome, kim")
          test.equal({ stage.ask("join", "kim") }, { nil, "already in" })
        end)
        test("a player leaves after a minute", function()
          test.equal(stage.ask("join", "kim"), "welcome, kim")
          sleep(59)
          test.equal(players, { kim = true })
          sleep(2)
          test.equal(players, {})
        end)
        test("a day on every clock", function()
          local clock, now = stage.clock(), stage.now()
          local time, day = os.time(), os.date("%F")
          for hour = 1, 24 do
            stage.submit(hour, function() sleep(3600) stage.signal("struck") end)
            sleep(3600)
          end
          assert(stage.clock() - clock >= 86400 and stage.now() - now >= 86400)
          assert(os.time() - time >= 86400 and os.date("%F") ~= day)
          test.equal(os.time({ year = 2026, month = 1, day = 2, hour = 3 }) - os.time({ year = 2026, month = 1, day = 1, hour = 3 }), 86400)
        end)
        stage.waitfor("struck", function() end)
        "#,
    );
    let (output, text) = test(&folder, &[]);
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
    let expected = "lobby_test.lua\n  ok    a player joins once\n  \
                    ok    a player leaves after a minute  (61.0 s of its own time)\n  \
                    ok    a day on every clock  (86400.0 s of its own time)\n3 passed, 0 failed, in 1 file (";
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn a_test_that_fails_hangs_or_hogs_says_where_and_the_others_go_on() {
    let folder = Folder::new();
    folder.write(
        "a_test.lua",
        r#"
        test("differs", function() print("printed") test.equal({ a = 1 }, { a = 2 }) end)
        test("raises", function() local nothing = nil; return nothing.here end)
        test("hangs", function() while true do sleep(1) end end)
        test("hogs", function() while true do end end)
        test("is fine", function() end)
        "#,
    );
    folder.write("b_test.lua", "test('never registered'");
    folder.write("c_test.lua", "-- nothing");
    let (output, text) = test(&folder, &["--limit", "3s"]);
    assert_eq!(output.status.code(), Some(1));
    for part in [
        "FAIL  differs\n        a_test.lua:2: expected {\n          a = 2\n        }\n        got      {\n          a = 1\n        }",
        "printed and logged:\n        printed\n",
        "FAIL  raises\n        a_test.lua:3: attempt to index a nil value (local 'nothing')",
        "FAIL  hangs\n        it has not ended within 3s (--limit)",
        "FAIL  hogs\n        a_test.lua:5: stopped: it has computed for longer",
        "ok    is fine",
        "b_test.lua\n  FAIL  the file\n        b_test.lua:1: ",
        "c_test.lua\n  FAIL  the file\n        it has no test",
        "1 passed, 6 failed, in 3 files",
    ] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
    assert!(stderr(&output).contains("6 tests failed"));
}

#[test]
fn tests_run_beside_the_stages_of_a_configuration_and_its_databases() {
    let login = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/login");
    let config = format!("{login}/test.json");
    let output = finish(&["test", login, "--config", &config, "--limit", "60s"]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
    assert!(text.contains("6 passed, 0 failed, in 1 file"), "{text}");
}

#[test]
fn nothing_to_test_is_an_error() {
    let folder = Folder::new();
    let (output, _) = test(&folder, &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("ends in _test.lua"), "{}", stderr(&output));
    folder.write("a_test.lua", "test('one', function() end)");
    let (output, _) = test(&folder, &["--only", "two"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no test has that in its name"), "{}", stderr(&output));
}
