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

/// Runs a hog in slices until it is done; true if it was ended before.
fn is_ended(hog: &str) -> mlua::Result<bool> {
    let lua = Lua::new();
    let hog: Function = lua.load(hog).into_function()?;
    let (enter, main) = entry(&lua)?;
    let mut call = pin!(enter.call_async::<()>(hog));
    let (mut entry, mut slice) = (Entry::new(main), Slice::default());
    let mut context = Context::from_waker(Waker::noop());
    loop {
        let sliced = entry.slice(&mut slice, BOUNDS, || call.as_mut().poll(&mut context));
        if let Poll::Ready(result) = sliced.result {
            return Ok(result.is_err());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_end_a_hog_and_leave_others_alone() {
        let _post = Post::take();
        assert!(is_ended(HOG).unwrap());
        assert!(!is_ended("return 1").unwrap());
    }
}
