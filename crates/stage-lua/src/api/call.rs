use mlua::{Error, Function, Lua, MultiValue, Table, Value as LuaValue};
use stage_value::MessageId;

use super::bad_argument;
use crate::generation::Generation;
use crate::run::Run;
use crate::vm::Local;

/// `stage.once(id, fn, ...)`: a handler for one message. `stage.call(fn or id, ...)`: calls a function,
/// or a handler of this VM, as part of the one that runs.
pub(super) fn install(lua: &Lua, stage: &Table) -> mlua::Result<()> {
    let waitfor: Function = stage.raw_get("waitfor")?;
    let handler = lua.create_function(|lua, id: LuaValue| handler(lua, &id))?;
    let made: Table =
        lua.load(include_str!("call.lua")).set_name("=(stage)").call((waitfor, handler))?;
    made.for_each(|name: String, function: Function| stage.raw_set(name, function))
}

/// The handler that hears a message, and what was bound to it.
fn handler(lua: &Lua, id: &LuaValue) -> mlua::Result<MultiValue> {
    let LuaValue::String(text) = id else {
        return Err(bad_argument(1, "call", "function or id of a handler", id));
    };
    let message: MessageId = text.to_str()?.parse().map_err(Error::external)?;
    let local = Local::of(lua)?;
    let run = Run::current();
    let aside = run.as_ref().and_then(|run| run.script.as_ref()).and_then(Generation::aside);
    let staged = aside.and_then(|handlers| handlers.of_message(&message).cloned());
    let found = staged.or_else(|| local.handlers.borrow().of_message(&message).cloned());
    let found = found.ok_or_else(|| {
        Error::runtime(format!("no handler '{message}' here; stage.ask reaches other VMs"))
    })?;
    let mut all: MultiValue = found.bound.into_iter().collect();
    all.push_front(LuaValue::Function(found.function));
    Ok(all)
}
