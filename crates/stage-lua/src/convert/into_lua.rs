use std::slice;

use mlua::{Error, Lua, MultiValue, Table, Value as LuaValue};
use stage_value::{Capture, Function as ShippedFunction, Key, Map, Value};

use crate::function::Instance;
use crate::raw::{self, Plan};
use crate::vm::Local;

/// Rebuilds values in a VM. Functions among them share a sandbox of their own.
pub(crate) struct Unpacker<'a> {
    lua: &'a Lua,
    local: &'a Local,
    /// The globals of the functions, once there is one that has any.
    env: Option<Table>,
    unfilled: Vec<(Shell, Value)>,
    /// Whether a function was found deep in a value: what holds functions is then made part by part.
    holds_functions: bool,
}

/// A container that exists in the VM and waits for its parts.
enum Shell {
    Table(Table),
    Function(Instance),
}

impl<'a> Unpacker<'a> {
    pub(crate) fn new(lua: &'a Lua, local: &'a Local) -> Self {
        Self { lua, local, env: None, unfilled: Vec::new(), holds_functions: false }
    }

    /// Rebuilds arguments or results.
    ///
    /// # Errors
    /// An error of the VM, such as its memory limit, or a function that does not compile.
    pub(crate) fn unpack_all(&mut self, values: Vec<Value>) -> mlua::Result<MultiValue> {
        if let Some(scalars) = values.iter().map(scalar).collect() {
            return Ok(scalars);
        }
        if let Some(made) = self.at_once(&values)? {
            return Ok(made);
        }
        values.into_iter().map(|value| self.unpack(value)).collect()
    }

    /// Rebuilds one value with all that is in it.
    ///
    /// # Errors
    /// As [`unpack_all`](Self::unpack_all).
    pub(crate) fn unpack(&mut self, value: Value) -> mlua::Result<LuaValue> {
        let root = self.shell(value)?;
        while let Some((shell, value)) = self.unfilled.pop() {
            match (shell, value) {
                (Shell::Table(table), Value::List(items)) => self.fill_list(&table, &items)?,
                (Shell::Table(table), Value::Map(map)) => self.fill_map(&table, &map)?,
                (Shell::Function(function), Value::Function(shipped)) => {
                    self.fill_captures(&function, &shipped)?;
                }
                _ => {}
            }
        }
        Ok(root)
    }

    /// A value that is whole, or a container whose parts are still to come.
    fn shell(&mut self, value: Value) -> mlua::Result<LuaValue> {
        if let Some(scalar) = scalar(&value) {
            return Ok(scalar);
        }
        if let Value::Function(shipped) = &value {
            let instance = self.local.instantiate(self.lua, shipped, &mut self.env)?;
            let function = instance.function.clone();
            if !instance.unset.is_empty() {
                self.unfilled.push((Shell::Function(instance), value));
            }
            return Ok(LuaValue::Function(function));
        }
        if let Some(mut made) = self.at_once(slice::from_ref(&value))? {
            return Ok(made.pop_front().unwrap_or_default());
        }
        let table = match &value {
            Value::List(items) => self.lua.create_table_with_capacity(items.len(), 0)?,
            Value::Map(map) => self.lua.create_table_with_capacity(0, map.len())?,
            _ => return Ok(LuaValue::Nil),
        };
        self.unfilled.push((Shell::Table(table.clone()), value));
        Ok(LuaValue::Table(table))
    }

    /// Values without functions, all at once.
    fn at_once(&mut self, values: &[Value]) -> mlua::Result<Option<MultiValue>> {
        if self.holds_functions || values.iter().any(|value| matches!(value, Value::Function(_))) {
            return Ok(None);
        }
        let Some(plan) = Plan::of(values) else {
            self.holds_functions = true;
            return Ok(None);
        };
        plan.make(self.lua).map(Some)
    }

    fn fill_list(&mut self, table: &Table, items: &[Value]) -> mlua::Result<()> {
        for (item, index) in items.iter().zip(1i64..) {
            let item = self.shell(item.clone())?;
            table.raw_set(index, item)?;
        }
        Ok(())
    }

    fn fill_map(&mut self, table: &Table, map: &Map) -> mlua::Result<()> {
        for (key, value) in map {
            let value = self.shell(value.clone())?;
            table.raw_set(key_to_lua(self.lua, key)?, value)?;
        }
        Ok(())
    }

    /// Sets the captured variables that it was made without.
    fn fill_captures(
        &mut self,
        instance: &Instance,
        shipped: &ShippedFunction,
    ) -> mlua::Result<()> {
        for &(index, at) in &instance.unset {
            let value = match shipped.captures().get(at) {
                Some(Capture::Value(value)) => self.shell(value.clone())?,
                Some(Capture::Itself) => LuaValue::Function(instance.function.clone()),
                Some(Capture::Library(name)) => self.local.library_value(name)?,
                _ => continue,
            };
            raw::set_captured(self.lua, &instance.function, index, value)?;
        }
        Ok(())
    }
}

/// A value that needs no memory of the VM.
fn scalar(value: &Value) -> Option<LuaValue> {
    match value {
        Value::Nil => Some(LuaValue::Nil),
        Value::Bool(value) => Some(LuaValue::Boolean(*value)),
        Value::Int(value) => Some(LuaValue::Integer(*value)),
        Value::Float(value) => Some(LuaValue::Number(*value)),
        _ => None,
    }
}

/// A key in the VM.
///
/// # Errors
/// The VM's own.
pub(crate) fn key_to_lua(lua: &Lua, key: &Key) -> mlua::Result<LuaValue> {
    Ok(match key {
        Key::Bool(value) => LuaValue::Boolean(*value),
        Key::Int(value) => LuaValue::Integer(*value),
        Key::Float(value) => LuaValue::Number(*value),
        Key::Bytes(bytes) => LuaValue::String(lua.create_string(bytes)?),
        _ => return Err(Error::runtime("a table key of a kind that this node does not know")),
    })
}
