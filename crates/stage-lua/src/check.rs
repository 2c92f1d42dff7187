use mlua::chunk::ChunkMode;
use mlua::{Lua, LuaOptions, StdLib};

use crate::error::first_line;
use crate::function::{refuse_bytecode, refuse_close};
use crate::{Script, StartError};

/// Compiles a script without running it.
///
/// # Errors
/// [`StartError::Script`] with file, line and reason.
pub fn check(script: &Script) -> Result<(), StartError> {
    let refuse = |error: &mlua::Error| StartError::Script { message: first_line(error) };
    refuse_bytecode(&script.name, &script.code()).map_err(|e| refuse(&e))?;
    refuse_close(&script.name, &script.code()).map_err(|e| refuse(&e))?;
    let lua = Lua::new_with(StdLib::NONE, LuaOptions::default()).map_err(|e| refuse(&e))?;
    lua.load(script.code().as_ref())
        .set_name(format!("@{}", script.name))
        .set_mode(ChunkMode::Text)
        .into_function()
        .map(drop)
        .map_err(|error| refuse(&error))
}
