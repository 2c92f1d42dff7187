//! Shared variables: snapshots for readers, atomic updates for writers.

use std::collections::HashMap;
use std::sync::Arc;

use mlua::{Error, Function, Lua, Table, Value as LuaValue};
use stage_value::{Key, Value, ValueError};

use super::bad_argument;
use crate::convert::{Packer, Unpacker, scalar_key};
use crate::generation::Generation;
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
    let local = Local::of(lua)?;
    refuse_within_update(&local)?;
    let mut first_values = Vec::new();
    for name in names.sequence_values::<LuaValue>() {
        let LuaValue::String(name) = name? else {
            return Err(Error::runtime(r#"_SANDBOX[""] lists names, such as "*NAME""#));
        };
        // Without the star a name is shared by the coroutines of its VM, as all globals are.
        if let Some(name) = name.to_str()?.strip_prefix('*') {
            if !is_variable(name) {
                return Err(Error::runtime(format!("'{name}' is no name of a variable")));
            }
            let value = pack(lua, &local, name, lua.globals().raw_get(name)?)?;
            first_values.push((name.to_owned(), value));
        }
    }
    first_values.into_iter().try_for_each(|(name, value)| share(lua, &local, &name, &value))
}

/// Whether a text can be the name of a variable that scripts share.
#[must_use]
pub fn is_variable(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

/// Shares a variable. The value that another script has given it before stays.
fn share(lua: &Lua, local: &Local, name: &str, value: &Value) -> mlua::Result<()> {
    let variables = &local.services.parts.shared;
    // One that is there is left alone: what VMs have read of it stays good.
    if variables.snapshot().get(name).is_none() {
        // Another script may be first.
        variables.compare_and_set(name, None, Some(value.clone())).ok();
    }
    if let Some(generation) = Run::current().as_ref().and_then(|run| run.script.as_ref()) {
        generation.declare(name);
    }
    lua.globals().raw_set(name, LuaValue::Nil)?;
    unpin();
    Ok(())
}

/// `__("NAME", function(old) return new end)` and `__("NAME", key, function(old) return new end)`:
/// nobody writes in between. Returns the new value.
fn update(
    lua: &Lua,
    (name, key, change): (LuaValue, LuaValue, LuaValue),
) -> mlua::Result<LuaValue> {
    let local = Local::of(lua)?;
    let LuaValue::String(name) = &name else {
        return Err(bad_argument(1, "__", "name of a shared variable", &name));
    };
    let name = name.to_str()?.to_owned();
    let (key, change) = match (key, change) {
        (LuaValue::Function(change), LuaValue::Nil) => (None, change),
        (key, LuaValue::Function(change)) => {
            let wrong = |_| bad_argument(2, "__", "key or function", &key);
            (Some(scalar_key(&key).map_err(wrong)?), change)
        }
        (_, other) => return Err(bad_argument(3, "__", "function", &other)),
    };
    if pinned(&local, |pinned| pinned.snapshot.get(&name).is_none()) {
        let message =
            format!(r#"'{name}' is not shared: declare it by _SANDBOX[""] = {{ "*{name}" }}"#);
        return Err(Error::runtime(message));
    }
    refuse_within_update(&local)?;
    let updating = Updating::begin(&local);
    let updated = Change { lua, local: &local, name: &name, key, function: change }.publish()?;
    drop(updating);
    remember(&local, &name, local.views.show(lua, &updated.whole)?);
    local.views.show(lua, &updated.part)
}

/// An update may be computed several times, and one that writes would wait for itself.
pub(super) fn refuse_within_update(local: &Local) -> mlua::Result<()> {
    if local.updating.get() {
        let message = "the function given to __ may run again: it must not send, submit or write, only return";
        return Err(Error::runtime(message));
    }
    Ok(())
}

/// An update that is being computed, however its computation ends.
struct Updating<'a>(&'a Local);

impl<'a> Updating<'a> {
    fn begin(local: &'a Local) -> Self {
        local.updating.set(true);
        Self(local)
    }
}

impl Drop for Updating<'_> {
    fn drop(&mut self) {
        self.0.updating.set(false);
    }
}

/// A change of a shared variable, or of one entry of it.
struct Change<'a> {
    lua: &'a Lua,
    local: &'a Local,
    name: &'a str,
    key: Option<Key>,
    function: Function,
}

/// What a change has made.
#[derive(Clone, Default)]
struct Updated {
    whole: Value,
    /// What the function returned: the whole, or one entry of it.
    part: Value,
}

impl Change<'_> {
    fn publish(&self) -> mlua::Result<Updated> {
        let mut updated = Updated::default();
        let compute = |old: Option<&Value>| {
            updated = self.apply(old.unwrap_or(&Value::Nil))?;
            Ok::<_, Error>(Some(updated.whole.clone()))
        };
        self.local.services.parts.shared.update(self.name, compute)?;
        Ok(updated)
    }

    fn apply(&self, old: &Value) -> mlua::Result<Updated> {
        let Some(key) = &self.key else {
            let new = self.call(old.clone())?;
            return Ok(Updated { whole: new.clone(), part: new });
        };
        let entry = old.entry(key).cloned().unwrap_or_default();
        let part = self.call(entry)?;
        let whole = old.with_entry(key.clone(), part.clone()).ok_or_else(|| {
            Error::runtime(format!("'{}' is a {}, which has no entries", self.name, old.kind()))
        })?;
        Ok(Updated { whole, part })
    }

    /// Calls the script's function with a copy that it may change.
    fn call(&self, old: Value) -> mlua::Result<Value> {
        let old = Unpacker::new(self.lua, self.local).unpack(old)?;
        pack(self.lua, self.local, self.name, self.function.call(old)?)
    }
}

/// `stage.snapshot.refresh()`: from here on the handler sees the newest version.
fn refresh(_: &Lua, (): ()) -> mlua::Result<()> {
    unpin();
    Ok(())
}

/// Reads a shared variable as of the handler's version; `None` if no such variable is shared.
pub(super) fn read(lua: &Lua, local: &Local, name: &str) -> mlua::Result<Option<LuaValue>> {
    enum Found {
        Own(LuaValue),
        Shared(u64, Value),
    }
    let found = pinned(local, |pinned| match pinned.own.get(name) {
        Some(own) => Some(Found::Own(own.clone())),
        None => {
            let value = pinned.snapshot.get(name).cloned()?;
            Some(Found::Shared(pinned.snapshot.written(name).unwrap_or_default(), value))
        }
    });
    Ok(match found {
        None => None,
        Some(Found::Own(own)) => Some(own),
        Some(Found::Shared(written, value)) => Some(shown(lua, local, name, written, &value)?),
    })
}

fn shown(
    lua: &Lua,
    local: &Local,
    name: &str,
    written: u64,
    value: &Value,
) -> mlua::Result<LuaValue> {
    if let Some(newest) = local.views.newest(lua, name, written, value)? {
        return Ok(newest);
    }
    // Others in this VM have gone on to a newer version: this one is for the handler alone, and ends with it.
    let older = local.views.show(lua, value)?;
    remember(local, name, older.clone());
    Ok(older)
}

/// Writes a shared variable; false if no such variable is shared.
///
/// What a script puts into a name before it shares it is a first value, which may come too late:
/// another instance, or the run before, may have written the variable already.
pub(super) fn write(lua: &Lua, local: &Local, name: &str, value: LuaValue) -> mlua::Result<bool> {
    let is_first = |generation: &Generation| !generation.has_declared(name);
    if Run::current().is_some_and(|run| run.script.as_ref().is_some_and(is_first)) {
        return Ok(false);
    }
    if pinned(local, |pinned| pinned.snapshot.get(name).is_none()) {
        return Ok(false);
    }
    refuse_within_update(local)?;
    let packed = pack(lua, local, name, value)?;
    local
        .services
        .parts
        .shared
        .update(name, |_: Option<&Value>| Ok::<_, std::convert::Infallible>(Some(packed.clone())))
        .map_err(Error::external)?;
    remember(local, name, local.views.show(lua, &packed)?);
    Ok(true)
}

/// The version that the running handler sees; outside of a handler, the newest.
fn pinned<R>(local: &Local, look: impl FnOnce(&mut Pinned) -> R) -> R {
    let newest =
        || Pinned { snapshot: local.services.parts.shared.snapshot(), own: HashMap::new() };
    match Run::current() {
        Some(run) => look(run.pinned.borrow_mut().get_or_insert_with(newest)),
        None => look(&mut newest()),
    }
}

/// A handler's own writes are visible to it.
fn remember(local: &Local, name: &str, value: LuaValue) {
    pinned(local, |pinned| pinned.own.insert(Arc::from(name), value));
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
