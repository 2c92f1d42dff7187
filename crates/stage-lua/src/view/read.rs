use mlua::{Function, Lua, MultiValue, Table, Value as LuaValue};
use stage_value::{Key, Value};

use super::Kind;
use crate::convert::{key_to_lua, scalar_key};

/// `view[key]`. O(1) for a list, O(log n) for a map.
pub(super) fn index(lua: &Lua, kind: &Kind) -> mlua::Result<Function> {
    let kind = kind.clone();
    lua.create_function(move |lua, (view, key): (Table, LuaValue)| {
        let found = kind.with(&view, |value| find(value, &key).cloned()).flatten();
        found.map_or(Ok(LuaValue::Nil), |value| kind.show(lua, &value))
    })
}

/// `#view`: the length of a list, O(1); of a map, the keys 1 to n that it has, O(n log size).
pub(super) fn length(lua: &Lua, kind: &Kind) -> mlua::Result<Function> {
    let kind = kind.clone();
    lua.create_function(move |_, view: Table| {
        let length = kind.with(&view, |value| match value {
            Value::List(items) => items.len(),
            Value::Map(map) => (1..).take_while(|n| map.find(&Key::Int(*n)).is_some()).count(),
            _ => 0,
        });
        Ok(length.unwrap_or(0))
    })
}

/// `pairs(view)`.
pub(super) fn pairs(lua: &Lua, next: &Function) -> mlua::Result<Function> {
    let next = next.clone();
    lua.create_function(move |_, view: Table| Ok((next.clone(), view, LuaValue::Nil)))
}

/// `next(view, key)`. O(1) for a list, O(log n) for a map.
pub(super) fn next(lua: &Lua, kind: &Kind) -> mlua::Result<Function> {
    let kind = kind.clone();
    lua.create_function(move |lua, (view, key): (Table, LuaValue)| {
        let entry = kind.with(&view, |value| after(value, &key)).flatten();
        let Some((key, value)) = entry else {
            return Ok(MultiValue::from_iter([LuaValue::Nil]));
        };
        let entry = [key_to_lua(lua, &key)?, kind.show(lua, &value)?];
        Ok(MultiValue::from_iter(entry))
    })
}

fn find<'a>(value: &'a Value, key: &LuaValue) -> Option<&'a Value> {
    match (value, key) {
        (Value::Map(map), LuaValue::String(text)) => map.find_bytes(&text.as_bytes()),
        (value, key) => value.entry(&scalar_key(key).ok()?),
    }
}

/// The entry behind a key; nil is before the first.
fn after(value: &Value, key: &LuaValue) -> Option<(Key, Value)> {
    match value {
        Value::List(items) => {
            let index = if key.is_nil() { 0 } else { key.as_i64()? };
            let next = items.get(usize::try_from(index).ok()?)?;
            Some((Key::Int(index + 1), next.clone()))
        }
        Value::Map(map) => {
            let key = if key.is_nil() { None } else { Some(scalar_key(key).ok()?) };
            map.entries_after(key.as_ref()).first().cloned()
        }
        _ => None,
    }
}
