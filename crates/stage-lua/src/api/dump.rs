use mlua::{Function, Lua, Table, Value as LuaValue};

/// `stage.dump(value)`: the value as text, over several lines.
///
/// Returns the function itself, which shows a value on one line if its second argument is true.
pub(super) fn install(lua: &Lua, stage: &Table) -> mlua::Result<Function> {
    let dump: Function = lua.load(include_str!("dump.lua")).set_name("=(stage)").call(())?;
    let whole = dump.clone();
    let shown =
        lua.create_function(move |_, value: LuaValue| whole.call::<LuaValue>((value, false)))?;
    stage.raw_set("dump", shown)?;
    Ok(dump)
}
