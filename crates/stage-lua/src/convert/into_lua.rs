use mlua::{Error, Function, Lua, MultiValue, Table, Value as LuaValue};
use stage_value::{Capture, Function as ShippedFunction, Key, Map, Value};

use crate::vm::Local;

/// Rebuilds values in a VM. Functions among them run in the given environment.
pub(crate) struct Unpacker<'a> {
    lua: &'a Lua,
    local: &'a Local,
    env: &'a Table,
    unfilled: Vec<(Shell, Value)>,
}

/// A container that exists in the VM and waits for its parts.
enum Shell {
    Table(Table),
    Function(Function),
}

impl<'a> Unpacker<'a> {
    pub(crate) fn new(lua: &'a Lua, local: &'a Local, env: &'a Table) -> Self {
        Self { lua, local, env, unfilled: Vec::new() }
    }

    /// Rebuilds arguments or results.
    ///
    /// # Errors
    /// An error of the VM, such as its memory limit, or a function that does not compile.
    pub(crate) fn unpack_all(&mut self, values: Vec<Value>) -> mlua::Result<MultiValue> {
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

    /// A scalar, or a container whose parts are still to come.
    fn shell(&mut self, value: Value) -> mlua::Result<LuaValue> {
        let (shell, table) = match &value {
            Value::Nil => return Ok(LuaValue::Nil),
            Value::Bool(value) => return Ok(LuaValue::Boolean(*value)),
            Value::Int(value) => return Ok(LuaValue::Integer(*value)),
            Value::Float(value) => return Ok(LuaValue::Number(*value)),
            Value::Bytes(bytes) => return self.lua.create_string(bytes).map(LuaValue::String),
            Value::List(items) => {
                let table = self.lua.create_table_with_capacity(items.len(), 0)?;
                (Shell::Table(table.clone()), LuaValue::Table(table))
            }
            Value::Map(map) => {
                let table = self.lua.create_table_with_capacity(0, map.len())?;
                (Shell::Table(table.clone()), LuaValue::Table(table))
            }
            Value::Function(shipped) => {
                let function = self.function(shipped)?;
                (Shell::Function(function.clone()), LuaValue::Function(function))
            }
        };
        self.unfilled.push((shell, value));
        Ok(table)
    }

    fn function(&self, shipped: &ShippedFunction) -> mlua::Result<Function> {
        let Local { instantiator, sources, .. } = self.local;
        instantiator.instantiate(self.lua, sources, shipped.prototype(), self.env)
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

    /// Sets the captured variables that the function's code has, by name.
    ///
    /// The compiler orders upvalues by first use, as it did at the author's, but a text from
    /// outside need not keep to the names it came with.
    fn fill_captures(
        &mut self,
        function: &Function,
        shipped: &ShippedFunction,
    ) -> mlua::Result<()> {
        let debug = &self.local.debug;
        let names = shipped.prototype().names();
        for index in 1..=usize::from(u8::MAX) {
            let Some((name, _)) = debug.upvalue(function, index) else { break };
            let Some(at) = names.iter().position(|known| **known == *name) else { continue };
            let value = match &shipped.captures()[at] {
                Capture::Value(value) => self.shell(value.clone())?,
                Capture::Itself => LuaValue::Function(function.clone()),
                Capture::Library(name) => self.local.library_value(name)?,
                _ => continue,
            };
            debug.set_upvalue(function, index, value)?;
        }
        Ok(())
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
