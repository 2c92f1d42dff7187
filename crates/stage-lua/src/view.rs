//! Shared values as tables that are read where they are.
//!
//! A shared table is not copied into the VMs that read it. A *view* is an empty table that stands for
//! a list or map: reading a field converts that field alone, and a table within it is a view again.
//! Views cannot be written; a view that is sent or assigned goes as the value that it stands for.

mod disposal;
mod read;
#[cfg(test)]
mod tests;

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use mlua::{AnyUserData, Error, Function, Lua, Table, UserData, Value as LuaValue};
use stage_value::Value;

pub(crate) use self::disposal::Disposal;
use crate::convert::Unpacker;
use crate::raw;
use crate::vm::Local;

/// The most shared names whose newest view a VM keeps.
const ROOTS: usize = 4096;

/// All views of a VM.
pub(crate) struct Views {
    kind: Kind,
    next: Function,
    roots: RefCell<HashMap<Arc<str>, Root>>,
}

/// The newest version of a shared name that was read in this VM.
///
/// What it holds stays in memory, however large it is, until a newer one is read.
struct Root {
    written: u64,
    /// `None` once the name stands for no table any more.
    view: Option<Table>,
}

/// What makes a table a view.
#[derive(Clone)]
struct Kind {
    metatable: Table,
    /// The value behind each view; a view that nobody holds leaves it by itself.
    behind: Table,
    /// The metatable of a table that keeps no value alive.
    weak: Table,
    /// Counted within the VM: views come and go often, and all VMs would count on one word.
    disposal: Rc<Disposal>,
}

/// What is behind a view.
struct Behind {
    value: Value,
    /// The views of the containers in it that have been read and that somebody holds, by key.
    parts: OnceCell<Table>,
    /// The functions in it that have been read, by key: each has what it captured for itself.
    functions: OnceCell<Table>,
    disposal: Rc<Disposal>,
}

impl UserData for Behind {}

impl Drop for Behind {
    fn drop(&mut self) {
        self.disposal.free(std::mem::take(&mut self.value));
    }
}

impl Views {
    /// # Errors
    /// The VM's own.
    pub(crate) fn new(lua: &Lua, disposal: Disposal) -> mlua::Result<Self> {
        let mode = |of: &str| {
            let mode = lua.create_table()?;
            mode.raw_set("__mode", of)?;
            mlua::Result::Ok(mode)
        };
        let behind = lua.create_table()?;
        behind.set_metatable(Some(mode("k")?))?;
        let weak = mode("v")?;
        let metatable = lua.create_table()?;
        let disposal = Rc::new(disposal);
        let kind = Kind { metatable: metatable.clone(), behind, weak, disposal };
        let next = read::next(lua, &kind)?;
        metatable.raw_set("__index", read::index(lua, &kind)?)?;
        metatable.raw_set("__len", read::length(lua, &kind)?)?;
        metatable.raw_set("__pairs", read::pairs(lua, &next)?)?;
        metatable.raw_set("__newindex", lua.create_function(refuse_write)?)?;
        metatable.raw_set("__metatable", false)?;
        Ok(Self { kind, next, roots: RefCell::default() })
    }

    /// The table whose keys are all views.
    pub(crate) fn registry(&self) -> &Table {
        &self.kind.behind
    }

    /// `next` for views.
    pub(crate) fn next(&self) -> &Function {
        &self.next
    }

    /// A value in the VM: a scalar, a function, or a view.
    ///
    /// # Errors
    /// The VM's own.
    pub(crate) fn show(&self, lua: &Lua, value: &Value) -> mlua::Result<LuaValue> {
        self.kind.show(lua, value)
    }

    /// The value of a shared name as of a version, made once per version; `None` if a newer one was read before, for
    /// which the older one is not kept.
    ///
    /// # Errors
    /// The VM's own.
    pub(crate) fn newest(
        &self,
        lua: &Lua,
        name: &str,
        written: u64,
        value: &Value,
    ) -> mlua::Result<Option<LuaValue>> {
        let known = match self.roots.borrow().get(name) {
            Some(Root { written: known, .. }) if *known > written => return Ok(None),
            Some(Root { written: known, view: Some(view) }) if *known == written => {
                return Ok(Some(LuaValue::Table(view.clone())));
            }
            known => known.is_some(),
        };
        let shown = self.show(lua, value)?;
        if known || shown.is_table() {
            let mut roots = self.roots.borrow_mut();
            if !known && roots.len() >= ROOTS {
                roots.clear();
            }
            roots.insert(name.into(), Root { written, view: shown.as_table().cloned() });
        }
        Ok(Some(shown))
    }

    /// The value behind a table, if it is a view.
    pub(crate) fn value(&self, lua: &Lua, table: &Table) -> Option<Value> {
        if !raw::has_metatable(lua, table) {
            return None;
        }
        self.kind.with(table, |behind| behind.value.clone())
    }
}

impl Kind {
    fn show(&self, lua: &Lua, value: &Value) -> mlua::Result<LuaValue> {
        match value {
            Value::List(_) | Value::Map(_) => {
                let view = lua.create_table()?;
                let (parts, functions) = (OnceCell::new(), OnceCell::new());
                let disposal = Rc::clone(&self.disposal);
                let behind = Behind { value: value.clone(), parts, functions, disposal };
                self.behind.raw_set(&view, lua.create_userdata(behind)?)?;
                view.set_metatable(Some(self.metatable.clone()))?;
                Ok(LuaValue::Table(view))
            }
            Value::Nil => Ok(LuaValue::Nil),
            Value::Bool(value) => Ok(LuaValue::Boolean(*value)),
            Value::Int(value) => Ok(LuaValue::Integer(*value)),
            Value::Float(value) => Ok(LuaValue::Number(*value)),
            Value::Bytes(bytes) => lua.create_string(bytes).map(LuaValue::String),
            Value::Function(_) => {
                let local = Local::of(lua)?;
                Unpacker::new(lua, &local).unpack(value.clone())
            }
        }
    }

    /// Looks behind a view.
    fn with<R>(&self, table: &Table, look: impl FnOnce(&Behind) -> R) -> Option<R> {
        let behind: AnyUserData = self.behind.raw_get::<Option<AnyUserData>>(table).ok()??;
        let behind = behind.borrow::<Behind>().ok()?;
        Some(look(&behind))
    }

    /// A part of the value behind a view. A container is one view for as long as somebody holds that, a function the same one
    /// as long as the whole is read.
    fn part(&self, lua: &Lua, behind: &Behind, key: &LuaValue) -> mlua::Result<LuaValue> {
        for known in [&behind.parts, &behind.functions].into_iter().filter_map(OnceCell::get) {
            let known: LuaValue = known.raw_get(key)?;
            if !known.is_nil() {
                return Ok(known);
            }
        }
        let Some(value) = read::find(&behind.value, key) else { return Ok(LuaValue::Nil) };
        let part = self.show(lua, value)?;
        let (known, mode) = match part {
            LuaValue::Table(_) => (&behind.parts, Some(self.weak.clone())),
            LuaValue::Function(_) => (&behind.functions, None),
            _ => return Ok(part),
        };
        if known.get().is_none() {
            let empty = lua.create_table()?;
            empty.set_metatable(mode)?;
            known.get_or_init(|| empty);
        }
        known.get().map_or(Ok(()), |known| known.raw_set(key, &part))?;
        Ok(part)
    }
}

fn refuse_write(_: &Lua, (_, key, _): (LuaValue, LuaValue, LuaValue)) -> mlua::Result<()> {
    let key = key.to_string().unwrap_or_default();
    let message = format!(
        "cannot change '{key}' of a shared table: use __(name, function(t) ... return t end)"
    );
    Err(Error::runtime(message))
}
