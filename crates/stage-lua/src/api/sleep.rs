use mlua::{Lua, Table, Value as LuaValue};

use super::{bad_argument, duration_of, number};

/// `sleep(seconds)`: waits without holding a thread; other handlers run meanwhile.
pub(super) fn install(lua: &Lua, globals: &Table) -> mlua::Result<()> {
    let sleep = lua.create_async_function(|_, seconds: LuaValue| async move {
        let seconds = match number(&seconds) {
            Some(seconds) if seconds.is_finite() && seconds >= 0.0 => seconds,
            _ => return Err(bad_argument(1, "sleep", "seconds of 0 or more", &seconds)),
        };
        tokio::time::sleep(duration_of(seconds)).await;
        Ok(())
    })?;
    globals.raw_set("sleep", sleep)
}
