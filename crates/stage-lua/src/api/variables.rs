//! Globals that depend on the running handler: `_WAITFOR`, `_TICKET` and shared variables.

use mlua::{Lua, LuaString, MultiValue, Table, Value as LuaValue};

use super::shared;
use super::waitfor::temporary_id;
use crate::run::{Later, Run, pack_results};
use crate::vm::{Handler, Local};

/// Resolves them behind a script's globals and behind the sandbox's.
///
/// # Errors
/// The VM's own.
pub(crate) fn install(lua: &Lua, base: &Table, sandbox: &Table) -> mlua::Result<()> {
    let fields = lua.create_table()?;
    fields.raw_set("__index", lua.create_function(reply)?)?;
    fields.raw_set("__metatable", false)?;
    let read = move |lua: &Lua, (_, name): (LuaValue, LuaValue)| read(lua, &name, &fields);
    let index = lua.create_function(read)?;
    let behind_base = lua.create_table()?;
    behind_base.raw_set("__index", index.clone())?;
    base.set_metatable(Some(behind_base))?;

    let new_index = lua.create_function(write)?;
    sandbox.raw_set("__index", base)?;
    sandbox.raw_set("__newindex", new_index.clone())?;
    sandbox.raw_set("__metatable", false)?;

    let behind_globals = lua.create_table()?;
    behind_globals.raw_set("__index", index)?;
    behind_globals.raw_set("__newindex", new_index)?;
    behind_globals.raw_set("__metatable", false)?;
    lua.globals().set_metatable(Some(behind_globals))
}

fn read(lua: &Lua, name: &LuaValue, fields: &Table) -> mlua::Result<LuaValue> {
    let LuaValue::String(name) = name else { return Ok(LuaValue::Nil) };
    match &*name.as_bytes() {
        b"_TICKET" => ticket(lua),
        b"_WAITFOR" => message(lua, fields),
        name => match std::str::from_utf8(name) {
            Ok(name) => Ok(shared::read(lua, &*Local::of(lua)?, name)?.unwrap_or(LuaValue::Nil)),
            Err(_) => Ok(LuaValue::Nil),
        },
    }
}

/// A new global: shared if its name is, else one of this table.
fn write(lua: &Lua, (globals, name, value): (Table, LuaValue, LuaValue)) -> mlua::Result<()> {
    if let LuaValue::String(text) = &name
        && let Ok(text) = text.to_str()
        && shared::write(lua, &*Local::of(lua)?, &text, value.clone())?
    {
        return Ok(());
    }
    globals.raw_set(name, value)
}

/// The id of the ticket that the running handler holds.
fn ticket(lua: &Lua) -> mlua::Result<LuaValue> {
    let ticket = Run::current().and_then(|run| run.ticket.clone());
    ticket.map_or(Ok(LuaValue::Nil), |ticket| {
        lua.create_string(ticket.id().to_string()).map(LuaValue::String)
    })
}

/// The message that the running handler handles: its id, and the node and stage it came from.
fn message(lua: &Lua, fields: &Table) -> mlua::Result<LuaValue> {
    let Some(run) = Run::current() else { return Ok(LuaValue::Nil) };
    let Some(origin) = &run.origin else { return Ok(LuaValue::Nil) };
    let text = |text: &str| -> mlua::Result<LuaString> { lua.create_string(text) };
    let table = lua.create_table()?;
    table.raw_set("id", text(&run.name)?)?;
    table.raw_set("node", text(&origin.node)?)?;
    table.raw_set("stage", text(&origin.stage)?)?;
    if let Some(trace) = run.trace {
        table.raw_set("trace", text(&trace.to_string())?)?;
    }
    table.set_metatable(Some(fields.clone()))?;
    Ok(LuaValue::Table(table))
}

/// `_WAITFOR.reply`: an address to which somebody else may send the reply, once; nil if nobody waits for one.
fn reply(lua: &Lua, (_, name): (Table, LuaValue)) -> mlua::Result<LuaValue> {
    let LuaValue::String(name) = name else { return Ok(LuaValue::Nil) };
    let Some(run) = Run::current().filter(|_| *name.as_bytes() == *b"reply") else {
        return Ok(LuaValue::Nil);
    };
    let local = Local::of(lua)?;
    if local.home.is_none() {
        return Ok(LuaValue::Nil);
    }
    let later = match run.later() {
        Some(later) => Some(later),
        None => begin_later(lua, &local, &run)?,
    };
    let address = later.map(|later| lua.create_string(format!(":{}", later.id)));
    address.transpose().map(|address| address.map_or(LuaValue::Nil, LuaValue::String))
}

fn begin_later(lua: &Lua, local: &Local, run: &Run) -> mlua::Result<Option<Later>> {
    let id = temporary_id(local)?;
    let Some(later) = run.reply_later(id.clone()) else { return Ok(None) };
    let answer = later.clone();
    let take = lua.create_function(move |lua, results: MultiValue| {
        let local = Local::of(lua)?;
        local.handlers.borrow_mut().remove(&answer.id);
        answer.answer(pack_results(lua, &local, "reply", results));
        Ok(())
    })?;
    let handler = Handler { function: take, bound: Vec::new(), of_script: false };
    local.handlers.borrow_mut().insert(&id, handler);
    Ok(Some(later))
}
