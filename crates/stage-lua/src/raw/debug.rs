//! Opening a VM with the `debug` library.
//!
//! mlua calls that unsafe since scripts could break the VM's invariants with it. No script ever sees
//! it: the library is taken out of the globals before anything else runs, and two functions of it
//! stay with the host.

use mlua::{Function, Lua, LuaOptions, StdLib, Table, Value as LuaValue};

/// Coroutines that are kept for the next handlers.
const IDLE_COROUTINES: usize = 1024;

/// The host's access to the captured variables of functions.
pub(crate) struct Debug {
    upvalue: Function,
    set_upvalue: Function,
}

impl Debug {
    /// A VM with the harmless libraries, and access to its functions' variables.
    ///
    /// # Errors
    /// The VM's own, such as no memory.
    pub(crate) fn open() -> mlua::Result<(Lua, Self)> {
        let libraries = StdLib::TABLE
            | StdLib::STRING
            | StdLib::MATH
            | StdLib::UTF8
            | StdLib::COROUTINE
            | StdLib::OS
            | StdLib::DEBUG;
        let options = LuaOptions::new().thread_pool_size(IDLE_COROUTINES);
        // SAFETY: the library that makes this unsafe leaves the globals below, before any script
        // can run; what stays reads and writes upvalues of Lua functions that the host names.
        let lua = unsafe { Lua::unsafe_new_with(libraries, options) };
        let debug: Table = lua.globals().get("debug")?;
        lua.globals().set("debug", LuaValue::Nil)?;
        let this =
            Self { upvalue: debug.get("getupvalue")?, set_upvalue: debug.get("setupvalue")? };
        Ok((lua, this))
    }

    /// Name and value of a function's upvalue, counted from 1; `None` behind the last.
    pub(crate) fn upvalue(&self, function: &Function, index: usize) -> Option<(String, LuaValue)> {
        let (name, value): (Option<String>, LuaValue) =
            self.upvalue.call((function, index)).ok()?;
        name.map(|name| (name, value))
    }

    /// Sets a function's upvalue, counted from 1.
    pub(crate) fn set_upvalue(
        &self,
        function: &Function,
        index: usize,
        value: LuaValue,
    ) -> mlua::Result<()> {
        self.set_upvalue.call((function, index, value))
    }
}
