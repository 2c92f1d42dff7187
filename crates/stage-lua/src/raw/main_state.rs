//! The own state of a VM, and what the host asks of the VM by it between slices.
//!
//! Why it is sound: the state is there for as long as the VM, and the host asks within the VM's time and while no code of
//! it runs.

use std::ffi::c_int;

use mlua::{Function, LightUserData, Lua, ffi};

/// The own state of a VM.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MainState(pub(super) *mut ffi::lua_State);

impl MainState {
    /// Bytes that the VM uses, garbage included.
    pub(super) fn used_memory(self) -> i64 {
        // SAFETY: a slice of this VM is about to run or has just run, so it is there; this reads two counters.
        let (kibi, rest) = unsafe {
            (ffi::lua_gc(self.0, ffi::LUA_GCCOUNT, 0), ffi::lua_gc(self.0, ffi::LUA_GCCOUNTB, 0))
        };
        i64::from(kibi) * 1024 + i64::from(rest)
    }

    /// Collects garbage of the VM, as if it had grown by so many bytes meanwhile. Between slices.
    pub(crate) fn collect(self, bytes: i64) -> Collected {
        let before = self.used_memory();
        let kibi = c_int::try_from(bytes / 1024).unwrap_or(c_int::MAX);
        // SAFETY: as for `used_memory`; no code of the VM runs, so it may be collected.
        let ended = unsafe { ffi::lua_gc(self.0, ffi::LUA_GCSTEP, kibi) };
        Collected { grown: self.used_memory() - before, ends_cycle: ended != 0 }
    }
}

/// What a portion of collecting garbage has come to.
pub(crate) struct Collected {
    /// By how many bytes the VM has grown; mostly less than 0.
    pub(crate) grown: i64,
    /// Whether all garbage of before the cycle is gone.
    pub(crate) ends_cycle: bool,
}

/// The own state of a VM.
///
/// # Errors
/// The VM's own.
pub(crate) fn main_state(lua: &Lua) -> mlua::Result<MainState> {
    // SAFETY: it leaves the stack as it found it but for what it returns.
    let own: Function = unsafe { lua.create_c_function(main) }?;
    let LightUserData(state) = own.call(())?;
    Ok(MainState(state.cast()))
}

/// `main()`: the VM's own state.
unsafe extern "C-unwind" fn main(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: the registry has the VM's own state at this place, and a C function always has room for two values.
    unsafe {
        ffi::lua_rawgeti(state, ffi::LUA_REGISTRYINDEX, ffi::LUA_RIDX_MAINTHREAD);
        let own = ffi::lua_tothread(state, -1);
        ffi::lua_pushlightuserdata(state, own.cast());
    }
    1
}
