use mlua::{Function, Lua, MultiValue, Table, Value as LuaValue};
use stage_value::{Key, Value};

use super::Kind;
use crate::convert::{key_to_lua, scalar_key};

/// `view[key]`. O(1) for a list, O(log n) for a map.
pub(super) fn index(lua: &Lua, kind: &Kind) -> mlua::Result<Function> {
    let kind = kind.clone();
    lua.create_function(move |lua, (view, key): (Table, LuaValue)| {
        kind.with(&view, |behind| kind.part(lua, behind, &key)).unwrap_or(Ok(LuaValue::Nil))
    })
}

/// `#view`: the length of a list, O(1); of a map, the keys 1 to n that it has, O(n log size).
pub(super) fn length(lua: &Lua, kind: &Kind) -> mlua::Result<Function> {
    let kind = kind.clone();
    lua.create_function(move |_, view: Table| {
        let length = kind.with(&view, |behind| match &behind.value {
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
        let entry = kind.with(&view, |behind| -> mlua::Result<MultiValue> {
            let Some(key) = after(&behind.value, &key) else {
                return Ok(MultiValue::from_iter([LuaValue::Nil]));
            };
            let key = key_to_lua(lua, &key)?;
            let part = kind.part(lua, behind, &key)?;
            Ok(MultiValue::from_iter([key, part]))
        });
        entry.unwrap_or_else(|| Ok(MultiValue::new()))
    })
}

/// The part of a list or map that a key stands for.
pub(super) fn find<'a>(value: &'a Value, key: &LuaValue) -> Option<&'a Value> {
    match (value, key) {
        (Value::Map(map), LuaValue::String(text)) => map.find_bytes(&text.as_bytes()),
        (value, key) => value.entry(&scalar_key(key).ok()?),
    }
}

/// The key behind a key; nil is before the first.
fn after(value: &Value, key: &LuaValue) -> Option<Key> {
    match value {
        Value::List(items) => {
            let index = if key.is_nil() { 0 } else { key.as_i64()? };
            let next = usize::try_from(index).ok().filter(|index| *index < items.len())?;
            Some(Key::Int(next as i64 + 1))
        }
        Value::Map(map) => {
            let key = if key.is_nil() { None } else { Some(scalar_key(key).ok()?) };
            map.entry_after(key.as_ref()).map(|(key, _)| key.clone())
        }
        _ => None,
    }
}
