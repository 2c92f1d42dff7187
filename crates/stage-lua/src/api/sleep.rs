use mlua::{Error, Lua, Table};

use super::duration_of;

/// `sleep(seconds)`: waits without holding a thread; other handlers run meanwhile.
pub(super) fn install(lua: &Lua, globals: &Table) -> mlua::Result<()> {
    let sleep = lua.create_async_function(|_, seconds: f64| async move {
        if !seconds.is_finite() || seconds < 0.0 {
            let message = format!(
                "bad argument #1 to 'sleep' (seconds of 0 or more expected, got {seconds})"
            );
            return Err(Error::runtime(message));
        }
        tokio::time::sleep(duration_of(seconds)).await;
        Ok(())
    })?;
    globals.raw_set("sleep", sleep)
}
