use mlua::{Lua, Table, Value as LuaValue};

use crate::convert::Unpacker;
use crate::services::Services;
use crate::vm::Local;

/// `process.id`, `process.node`, `process.args`, `process["$#route"]` and the settings, as `process["$%key"]`.
pub(super) fn install(lua: &Lua, globals: &Table, services: &Services) -> mlua::Result<()> {
    let process = lua.create_table()?;
    process.raw_set("id", std::process::id())?;
    process.raw_set("node", &*services.parts.node)?;
    process.raw_set("args", lua.create_sequence_from(std::env::args().skip(1))?)?;
    let route = services.parts.route.clone();
    let index = lua.create_function(move |lua, (_, key): (Table, String)| {
        if let Some(setting) = key.strip_prefix('$').filter(|key| key.starts_with('%')) {
            let local = Local::of(lua)?;
            let Some(value) = local.options.settings.get(setting) else { return Ok(LuaValue::Nil) };
            return Unpacker::new(lua, &local).unpack(value.clone());
        }
        if key != "$#route" {
            return Ok(LuaValue::Nil);
        }
        let view = route.view();
        let table = lua.create_table()?;
        table.raw_set("state", view.state.as_str())?;
        table.raw_set("threshold_ms", view.threshold.as_secs_f64() * 1000.0)?;
        table.raw_set("baseline_ms", view.baseline.as_secs_f64() * 1000.0)?;
        table.raw_set("delay_ms", view.delay.as_secs_f64() * 1000.0)?;
        Ok(LuaValue::Table(table))
    })?;
    let metatable = lua.create_table()?;
    metatable.raw_set("__index", index)?;
    process.set_metatable(Some(metatable))?;
    globals.raw_set("process", process)
}
