use mlua::{Error, Function, Lua, MultiValue, Table, Value as LuaValue};
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

/// `#view`: the length of a list, O(1); of a map a border as Lua has it, where n is a key and n + 1 is none, O(log² size).
pub(super) fn length(lua: &Lua, kind: &Kind) -> mlua::Result<Function> {
    let kind = kind.clone();
    lua.create_function(move |_, view: Table| {
        let length = kind.with(&view, |behind| match &behind.value {
            Value::List(items) => items.len(),
            Value::Map(map) => border(|n| map.find(&Key::Int(n)).is_some()),
            _ => 0,
        });
        Ok(length.unwrap_or(0))
    })
}

/// A number that is there, or 0, while the next one is not.
fn border(is_there: impl Fn(i64) -> bool) -> usize {
    let (mut low, mut high) = (0, 1);
    while is_there(high) {
        low = high;
        high *= 2;
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if is_there(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    usize::try_from(low).unwrap_or_default()
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
            let Some(key) = after(&behind.value, &key)? else {
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
///
/// # Errors
/// As Lua's own of a table, if there is no such key: a walk that has lost its place must not look as if it were at its end.
fn after(value: &Value, key: &LuaValue) -> mlua::Result<Option<Key>> {
    let key = if key.is_nil() {
        None
    } else {
        let known = scalar_key(key).ok().filter(|key| value.entry(key).is_some());
        Some(known.ok_or_else(|| Error::runtime("invalid key to 'next'"))?)
    };
    Ok(match (value, key) {
        (Value::List(items), None) => (!items.is_empty()).then_some(Key::Int(1)),
        (Value::List(items), Some(Key::Int(index))) => {
            (index < items.len() as i64).then_some(Key::Int(index + 1))
        }
        (Value::Map(map), key) => map.entry_after(key.as_ref()).map(|(key, _)| key.clone()),
        _ => None,
    })
}
