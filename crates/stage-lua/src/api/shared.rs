//! Shared variables: snapshots for readers, atomic updates for writers.

use std::collections::HashMap;
use std::sync::Arc;

use mlua::{Error, Function, Lua, Table, Value as LuaValue};
use stage_value::{Value, ValueError};

use super::bad_argument;
use crate::convert::{Packer, Unpacker};
use crate::run::{Pinned, Run};
use crate::vm::Local;

/// `_SANDBOX[""] = { "*NAME" }`, `__("NAME", fn)` and `stage.snapshot.refresh()`.
pub(super) fn install(lua: &Lua, globals: &Table, stage: &Table) -> mlua::Result<()> {
    let sandbox = lua.create_table()?;
    let metatable = lua.create_table()?;
    metatable.raw_set("__newindex", lua.create_function(declare)?)?;
    metatable.raw_set("__metatable", false)?;
    sandbox.set_metatable(Some(metatable))?;
    globals.raw_set("_SANDBOX", sandbox)?;
    globals.raw_set("__", lua.create_function(update)?)?;
    let snapshot = lua.create_table()?;
    snapshot.raw_set("refresh", lua.create_function(refresh)?)?;
    stage.raw_set("snapshot", snapshot)
}

/// Declares shared variables. What the script had put into one before becomes its first value.
fn declare(lua: &Lua, (_, key, names): (Table, LuaValue, LuaValue)) -> mlua::Result<()> {
    let is_root = matches!(&key, LuaValue::String(text) if text.as_bytes().is_empty());
    let (true, LuaValue::Table(names)) = (is_root, &names) else {
        return Err(Error::runtime(r#"write _SANDBOX[""] = { "*NAME", ... }"#));
    };
    for name in names.sequence_values::<LuaValue>() {
        let LuaValue::String(name) = name? else {
            return Err(Error::runtime(r#"_SANDBOX[""] lists names, such as "*NAME""#));
        };
        // Without the star a name is shared by the coroutines of its VM, as all globals are.
        if let Some(name) = name.to_str()?.strip_prefix('*') {
            share(lua, name)?;
        }
    }
    Ok(())
}

fn share(lua: &Lua, name: &str) -> mlua::Result<()> {
    let local = Local::of(lua)?;
    refuse_within_update(&local)?;
    let globals = lua.globals();
    let value = pack(lua, &local, name, globals.raw_get(name)?)?;
    local
        .services
        .parts
        .shared
        .update(name, |old: Option<&Value>| {
            Ok::<_, std::convert::Infallible>(Some(old.cloned().unwrap_or(value.clone())))
        })
        .map_err(Error::external)?;
    globals.raw_set(name, LuaValue::Nil)?;
    unpin();
    Ok(())
}

/// `__("NAME", function(old) return new end)`: nobody writes in between.
fn update(lua: &Lua, (name, change): (LuaValue, LuaValue)) -> mlua::Result<LuaValue> {
    let local = Local::of(lua)?;
    let name = match &name {
        LuaValue::String(text) => text.to_str()?.to_owned(),
        other => return Err(bad_argument(1, "__", "name of a shared variable", other)),
    };
    let LuaValue::Function(change) = change else {
        return Err(bad_argument(2, "__", "function", &change));
    };
    if pinned(&local, |pinned| pinned.snapshot.get(&name).is_none()) {
        let message =
            format!(r#"'{name}' is not shared: declare it by _SANDBOX[""] = {{ "*{name}" }}"#);
        return Err(Error::runtime(message));
    }
    refuse_within_update(&local)?;
    local.updating.set(true);
    let result = computed_update(lua, &local, &name, &change);
    local.updating.set(false);
    remember(&local, &name, result.clone()?);
    result
}

/// An update that writes would wait for itself.
fn refuse_within_update(local: &Local) -> mlua::Result<()> {
    if local.updating.get() {
        let message =
            "the function given to __ must not write shared variables: return the new value";
        return Err(Error::runtime(message));
    }
    Ok(())
}

fn computed_update(
    lua: &Lua,
    local: &Local,
    name: &str,
    change: &Function,
) -> mlua::Result<LuaValue> {
    let mut result = LuaValue::Nil;
    local
        .services
        .parts
        .shared
        .update(name, |old: Option<&Value>| {
            let new = changed(lua, local, change, old.cloned().unwrap_or_default())?;
            result = new.clone();
            pack(lua, local, name, new).map(Some)
        })
        .map_err(Error::external)?;
    Ok(result)
}

fn changed(lua: &Lua, local: &Local, change: &Function, old: Value) -> mlua::Result<LuaValue> {
    let env = local.sandbox(lua)?;
    change.call(Unpacker::new(lua, local, &env).unpack(old)?)
}

/// `stage.snapshot.refresh()`: from here on the handler sees the newest version.
fn refresh(_: &Lua, (): ()) -> mlua::Result<()> {
    unpin();
    Ok(())
}

/// Reads a shared variable as of the handler's version; `None` if no such variable is shared.
pub(super) fn read(lua: &Lua, local: &Local, name: &str) -> mlua::Result<Option<LuaValue>> {
    let found = pinned(local, |pinned| match pinned.copies.get(name) {
        Some(copy) => Some(Ok(copy.clone())),
        None => pinned.snapshot.get(name).cloned().map(Err),
    });
    match found {
        None => Ok(None),
        Some(Ok(copy)) => Ok(Some(copy)),
        Some(Err(value)) => {
            let env = local.sandbox(lua)?;
            let copy = Unpacker::new(lua, local, &env).unpack(value)?;
            remember(local, name, copy.clone());
            Ok(Some(copy))
        }
    }
}

/// Writes a shared variable; false if no such variable is shared.
pub(super) fn write(lua: &Lua, local: &Local, name: &str, value: LuaValue) -> mlua::Result<bool> {
    if pinned(local, |pinned| pinned.snapshot.get(name).is_none()) {
        return Ok(false);
    }
    refuse_within_update(local)?;
    let packed = pack(lua, local, name, value.clone())?;
    local
        .services
        .parts
        .shared
        .update(name, |_: Option<&Value>| Ok::<_, std::convert::Infallible>(Some(packed.clone())))
        .map_err(Error::external)?;
    remember(local, name, value);
    Ok(true)
}

/// The version that the running handler sees; outside of a handler, the newest.
fn pinned<R>(local: &Local, look: impl FnOnce(&mut Pinned) -> R) -> R {
    let newest =
        || Pinned { snapshot: local.services.parts.shared.snapshot(), copies: HashMap::new() };
    match Run::current() {
        Some(run) => look(run.pinned.borrow_mut().get_or_insert_with(newest)),
        None => look(&mut newest()),
    }
}

/// A handler's own writes are visible to it.
fn remember(local: &Local, name: &str, value: LuaValue) {
    pinned(local, |pinned| pinned.copies.insert(Arc::from(name), value));
}

fn unpin() {
    if let Some(run) = Run::current() {
        *run.pinned.borrow_mut() = None;
    }
}

fn pack(lua: &Lua, local: &Local, name: &str, value: LuaValue) -> mlua::Result<Value> {
    Packer::new(lua, local, local.options.values)
        .pack_one("shared variable", value)
        .map_err(|error: ValueError| Error::runtime(format!("'{name}': {error}")))
}
