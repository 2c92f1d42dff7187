//! Where time goes in Lua, as a profile shows it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use stage_lua::{Profile, Profiler, ProfilerError};

use crate::harness::run;

/// There is one profile of a process at a time, and these tests may share one.
static ONE: Mutex<()> = Mutex::new(());

pub(crate) fn alone() -> MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A script in which `spin(n)` computes; it is the first line, so that others count from 2.
fn profiled(script: &str) -> Profile {
    let spin = "local function spin(n) local x = 0 for i = 1, n do x = x + i % 7 end return x end";
    // The first runtime of a process tries out its signals, which is no part of any profile.
    run("");
    let profiler = Profiler::start(1000).unwrap();
    let lines = run(&format!("{spin}\n{script}"));
    let profile = profiler.finish();
    assert_eq!(lines, ["done"], "{}", profile.folded());
    profile
}

/// The samples of all stacks with such a frame.
fn with(profile: &Profile, frame: &str) -> u64 {
    let has = |stack: &str| stack.split(';').any(|own| own == frame);
    profile.stacks.iter().filter(|(stack, _)| has(stack)).map(|(_, count)| count).sum()
}

#[test]
fn a_line_has_as_many_samples_as_it_computes() {
    let _alone = alone();
    let profile = profiled(
        "stage.waitfor('go', function()\n\
            for round = 1, 120 do\n\
                spin(600000)\n\
                spin(200000)\n\
                sleep(0)\n\
            end\n\
            print('done')\n\
        end)\n\
        stage.signal('go')",
    );
    let (three, one) = (with(&profile, "main.lua:4"), with(&profile, "main.lua:5"));
    assert!(three + one >= 20, "{}", profile.folded());
    assert!(three > one && three < one * 9, "{three} to {one}:\n{}", profile.folded());
    // What they call is one line, and the innermost of nearly all samples.
    let innermost = &profile.lines()[0];
    assert_eq!(innermost.place, "main.lua:1 spin");
    assert!(innermost.own * 10 > profile.samples() * 8, "{}", profile.folded());
    assert!(profile.stacks.keys().all(|stack| stack.starts_with("stage")), "{}", profile.folded());
}

#[test]
fn functions_that_travel_and_coroutines_of_scripts_are_seen() {
    let _alone = alone();
    let profile = profiled(
        "local function far()\n\
            local inner = coroutine.wrap(function()\n\
                spin(9000000)\n\
            end)\n\
            inner()\n\
        end\n\
        stage.waitfor('ended', function() print('done') end)\n\
        stage.addtask(1, function() stage.submit(7, function() far() stage.signal('ended') end) end)",
    );
    let stacks: Vec<_> = profile.stacks.keys().filter(|stack| stack.contains("spin")).collect();
    assert!(!stacks.is_empty(), "{}", profile.folded());
    for stack in stacks {
        assert!(stack.starts_with("worker"), "{stack}");
        let at =
            |frame: &str| stack.find(frame).unwrap_or_else(|| panic!("{frame} is not in {stack}"));
        // The coroutine's calls stand on those of who resumed it.
        assert!(at("main.lua:6") < at("main.lua:4") && at("main.lua:4") < at("main.lua:1 spin"));
    }
}

#[test]
fn there_is_one_profile_at_a_time_and_none_after_it() {
    let _alone = alone();
    let profiler = Profiler::start(99).unwrap();
    assert!(matches!(Profiler::start(99), Err(ProfilerError::Busy)));
    drop(profiler);
    let profiler = Profiler::start(99).unwrap();
    let busy = "for i = 1, 3000000 do end print('done')";
    assert_eq!(run(busy), ["done"]);
    let first = profiler.finish();
    assert_eq!(run(busy), ["done"]);
    let empty = Profiler::start(1).unwrap().finish();
    assert!(empty.stacks.is_empty() && first.lost == 0);
}

#[test]
fn waiting_is_not_counted() {
    let _alone = alone();
    let profile = profiled(
        "stage.waitfor('go', function()\n\
            sleep(0.3)\n\
            print('done')\n\
        end)\n\
        stage.signal('go')",
    );
    assert!(with(&profile, "main.lua:3") < 30, "{}", profile.folded());
}
