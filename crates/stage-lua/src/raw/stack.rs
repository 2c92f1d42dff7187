//! The calls that a coroutine is in, as errors and samples show them.
//!
//! Why it is sound:
//!
//! - All are called in a coroutine that is alive, by the hook or by Lua for an error, and read it by Lua's own API.
//! - What may raise is called by `trace` alone, which Lua calls and which has nothing to drop.

use std::ffi::{CStr, c_int};
use std::ptr;

use mlua::ffi;

use crate::profile::Frame;

/// The most calls of a coroutine that are noted, the innermost ones.
const DEEPEST: c_int = 100;

/// Notes the calls of a coroutine, the innermost first.
///
/// # Safety
/// The coroutine is alive, and either runs on this thread or stands on its stack.
pub(super) unsafe fn walk(state: *mut ffi::lua_State, frames: &mut Vec<Frame>) {
    // SAFETY: the record is plain data, which Lua fills for a level that there is; the texts that it points to live as
    // long as the functions on the stack.
    unsafe {
        let mut here: ffi::lua_Debug = std::mem::zeroed();
        for level in 0..DEEPEST {
            if ffi::lua_getstack(state, level, &raw mut here) == 0
                || ffi::lua_getinfo(state, c"Sln".as_ptr(), &raw mut here) == 0
            {
                break;
            }
            let text =
                |text: *const std::ffi::c_char| CStr::from_ptr(text).to_string_lossy().into_owned();
            frames.push(Frame {
                source: if here.source.is_null() { String::new() } else { text(here.source) },
                line: here.currentline,
                name: (!here.name.is_null()).then(|| text(here.name)),
            });
        }
    }
}

/// File and line of the innermost call that is a script's, or of the innermost one if none is.
///
/// # Safety
/// As for [`walk`].
pub(super) unsafe fn place(state: *mut ffi::lua_State) -> String {
    // SAFETY: as there; the sources are C strings, the short one within the record.
    unsafe {
        let mut innermost = None;
        let mut here: ffi::lua_Debug = std::mem::zeroed();
        for level in 0..DEEPEST {
            if ffi::lua_getstack(state, level, &raw mut here) == 0
                || ffi::lua_getinfo(state, c"Sl".as_ptr(), &raw mut here) == 0
            {
                break;
            }
            let file = CStr::from_ptr(here.short_src.as_ptr()).to_string_lossy();
            let place = format!("{file}:{}", here.currentline);
            let is_host = CStr::from_ptr(here.source).to_bytes().starts_with(b"=(");
            if here.currentline > 0 && !is_host {
                return place;
            }
            innermost.get_or_insert(place);
        }
        innermost.unwrap_or_default()
    }
}

/// `trace(error)`: the error as text with the calls that it was raised in, as mlua makes it of one that nobody catches.
/// An error of the host stays what it is.
///
/// # Safety
/// Lua calls it for an error, in the coroutine that has raised it.
pub(super) unsafe extern "C-unwind" fn trace(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: each call has the room that it was asked for before.
    unsafe {
        if ffi::lua_type(state, 1) == ffi::LUA_TUSERDATA || ffi::lua_checkstack(state, 2) == 0 {
            return 1;
        }
        let text = ffi::luaL_tolstring(state, 1, ptr::null_mut());
        if ffi::lua_checkstack(state, ffi::LUA_TRACEBACK_STACK) != 0 {
            ffi::luaL_traceback(state, state, text, 1);
        }
    }
    1
}
