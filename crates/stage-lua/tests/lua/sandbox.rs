//! What a sandboxed function cannot reach or change.

use crate::harness::run;

/// Prints what a function body returns when submitted.
fn submitted(body: &str) -> Vec<String> {
    run(&format!("stage.submit(0, function() {body} end)"))
}

#[test]
fn a_sandbox_has_no_files_no_code_loading_and_no_debugger() {
    let lines = submitted(
        "print(io, debug, load, loadstring, dofile, loadfile, require, package, collectgarbage, \
         string.dump, os.execute, os.exit, os.remove)",
    );
    assert_eq!(lines, [vec!["nil"; 13].join("\t")]);
}

#[test]
fn a_sandbox_has_the_base_library_and_time() {
    let lines = submitted(
        "print(type(os.time()), type(os.clock()), ('x'):rep(2), #table.pack(1, 2), math.max(1, 2), utf8.char(97))",
    );
    assert_eq!(lines, ["number\tnumber\txx\t2\t2\ta"]);
}

#[test]
fn globals_of_a_sandbox_stay_in_it() {
    let lines = run(r#"
        seen = "script"
        for i = 1, 4 do
            stage.submit(1, function() print(leaked, seen) leaked = i end)
        end
    "#);
    assert_eq!(lines, vec!["nil\tnil"; 4]);
}

#[test]
fn libraries_cannot_be_changed_for_others() {
    let lines = submitted(
        r#"print(select(2, pcall(function() string.upper = 1 end)):match("cannot change 'upper'"))
           print(select(2, pcall(rawset, string, "upper", 1)):match("cannot change 'upper'"))
           print(getmetatable(string), getmetatable(""), getmetatable(_ENV))
           local n = 0 for k, v in pairs(string) do n = n + 1 end print(n > 10)"#,
    );
    assert_eq!(
        lines,
        ["cannot change 'upper'", "cannot change 'upper'", "false\tfalse\tfalse", "true"]
    );
}

#[test]
fn a_sandboxed_function_cannot_register_handlers() {
    let lines = submitted(
        "print(select(2, pcall(stage.waitfor, 'x', print)):match('stage.waitfor works in a stage'))",
    );
    assert_eq!(lines, ["stage.waitfor works in a stage"]);
}

#[test]
fn a_walk_over_a_library_does_not_hand_it_out() {
    let lines = run(r#"
        stage.submit(1, function()
            local _, s = pairs(string)
            print(pcall(function() s.upper = function() return "HACKED" end end))
            print(pcall(function() stage.snapshot.refresh = 42 end))
            print(pcall(rawset, stage.snapshot, "refresh", 42))
            print(pcall(function() process.args[1] = "evil" end))
            local _, st = pairs(stage)
            print(pcall(function() st.submit = nil end))
        end)
        stage.submit(1, function()
            print(("abc"):upper(), type(stage.submit), type(stage.snapshot.refresh), process.args[1] ~= "evil")
            print(process["$#route"].state, process.id > 0)
        end)
    "#);
    assert!(lines[..5].iter().all(|line| line.starts_with("false\t")), "{lines:?}");
    assert_eq!(lines[5..], ["ABC\tfunction\tfunction\ttrue", "joined\ttrue"]);
}

#[test]
fn finalizers_are_refused_in_scripts_and_in_sandboxes() {
    let script = "print(select(2, pcall(setmetatable, {}, {__gc = print})))";
    let lines = run(&format!("{script} stage.submit(0, function() {script} end)"));
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|line| line.contains("__gc is not available")), "{lines:?}");
}
