use std::pin::pin;
use std::sync::Once;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use mlua::{Function, Lua};

use super::{Bounds, Entry, Post, Slice, entry};
use crate::raw;

/// Ends by itself after a second or so where nothing else ends it.
const HOG: &str = "for i = 1, 300000000 do end";

const BOUNDS: Bounds = Bounds { quantum: Duration::ZERO, busy: Duration::from_millis(1) };

/// Tries once per process whether an endless loop is ended by the watchdog, on a thread and in a VM
/// that are there for nothing else. If not, falls back to a hook that is always there.
pub(crate) fn self_test() {
    static TRIED: Once = Once::new();
    TRIED.call_once(|| {
        let tried = thread::spawn(|| {
            let _post = Post::take();
            is_ended(HOG).unwrap_or(false)
        });
        if !tried.join().unwrap_or(false) {
            tracing::warn!(
                "signals do not interrupt Lua code here: every handler is watched by a hook, \
                 which makes Lua two to three times slower"
            );
            raw::hook_always();
        }
    });
}

/// Runs a hog; true if it was ended before it was done.
fn is_ended(hog: &str) -> mlua::Result<bool> {
    let lua = Lua::new();
    let hog: Function = lua.load(hog).into_function()?;
    Ok(run_in_slices(&lua, hog, BOUNDS)?.is_err())
}

/// Calls a function in slices until it is done: what it raised, if anything.
///
/// # Errors
/// The VM's own.
fn run_in_slices(
    lua: &Lua,
    function: Function,
    bounds: Bounds,
) -> mlua::Result<Result<(), mlua::Error>> {
    let (enter, main) = entry(lua)?;
    let mut call = pin!(enter.call_async::<()>(function));
    let (mut entry, mut slice) = (Entry::new(main), Slice::default());
    let mut context = Context::from_waker(Waker::noop());
    loop {
        let sliced = entry.slice(&mut slice, bounds, || call.as_mut().poll(&mut context));
        if let Poll::Ready(result) = sliced.result {
            return Ok(result);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::function::Sources;
    use crate::preempt::watchdog;
    use crate::view::{Disposal, Views};
    use crate::vm::restrict;

    /// A coroutine that gives way to others yields nothing, and so does one that returns nothing to a script.
    const COROUTINES: &str = r#"
        for round = 1, 2000 do
            local ends = coroutine.wrap(function() for i = 1, 1000 do end return "end" end)
            assert(ends() == "end", "taken for one that has returned")
        end"#;

    #[test]
    fn signals_end_a_hog_and_leave_others_alone() {
        let _post = Post::take();
        assert!(is_ended(HOG).unwrap());
        assert!(!is_ended("return 1").unwrap());
    }

    #[test]
    fn a_coroutine_stopped_again_on_its_way_to_the_host_has_not_returned() {
        let _post = Post::take();
        let lua = Lua::new();
        let views = Views::new(&lua, Disposal::start().unwrap()).unwrap();
        let raised = lua.create_table().unwrap();
        restrict(&lua, &Rc::new(Sources::default()), &views, &raised).unwrap();
        let coroutines = lua.load(COROUTINES).into_function().unwrap();
        let always = Bounds { quantum: Duration::ZERO, busy: Duration::from_hours(1) };
        let done = AtomicBool::new(false);
        let result = thread::scope(|scope| {
            // Signals all the time, so that one comes between any two instructions.
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    watchdog::look();
                }
            });
            let result = run_in_slices(&lua, coroutines, always);
            done.store(true, Ordering::Relaxed);
            result
        });
        assert!(matches!(result, Ok(Ok(()))), "{result:?}");
    }
}
