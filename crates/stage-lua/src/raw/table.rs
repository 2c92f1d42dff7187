//! Tables, read without a detour over handles for all that is in them.
//!
//! Why it is sound:
//!
//! - Reading goes by `lua_next`, which raises only if the table was changed meanwhile: nothing that could run Lua code
//!   is called between. It leaves the stack as it found it.
//! - Text is copied while its string is on the stack. `lua_tolstring` is only asked for strings, so it converts nothing.

use std::ffi::c_int;
use std::slice;

use bytes::Bytes;
use mlua::{Error, Lua, Table, Value as LuaValue, ffi};
use stage_value::{Budget, Key, Problem, Value};

use crate::convert::Content;

/// What cannot be read: why, and at which key if that is not at fault itself.
pub(crate) type Fault = (Option<Key>, Problem);

/// Whether a table has a metatable.
pub(crate) fn has_metatable(lua: &Lua, table: &Table) -> bool {
    lua.exec_raw_lua(|raw| {
        let state = raw.state();
        // SAFETY: what is pushed is popped; a metatable that is there counts.
        unsafe {
            if room(state).is_err() || raw.push(table).is_err() {
                return true;
            }
            let has = ffi::lua_getmetatable(state, -1) != 0;
            ffi::lua_pop(state, 1 + c_int::from(has));
            has
        }
    })
}

/// Reads the scalars of a table into its content. What is no scalar is left to the caller, with its key.
///
/// # Errors
/// The first key or value that cannot be read, or the limit that it is past.
pub(crate) fn read(
    lua: &Lua,
    table: &Table,
    budget: &mut Budget,
    content: &mut Content,
) -> Result<Vec<(Key, LuaValue)>, Fault> {
    lua.exec_raw_lua(|raw| {
        let state = raw.state();
        let mut others = Vec::new();
        // SAFETY: see the top.
        unsafe {
            let top = ffi::lua_gettop(state);
            room(state).and_then(|()| raw.push(table)).map_err(|_| no_room())?;
            content.reserve(ffi::lua_rawlen(state, -1));
            ffi::lua_pushnil(state);
            let mut result = Ok(());
            while result.is_ok() && ffi::lua_next(state, -2) != 0 {
                result =
                    key(state, -2, budget).map_err(|problem| (None, problem)).and_then(|key| {
                        match scalar(state, -1, budget) {
                            Ok(Some(value)) => {
                                content.place(key, value);
                                Ok(())
                            }
                            Ok(None) => match raw.pop::<LuaValue>() {
                                Ok(value) => {
                                    // In place of what was popped.
                                    ffi::lua_pushnil(state);
                                    others.push((key, value));
                                    Ok(())
                                }
                                Err(_) => Err((Some(key), no_room().1)),
                            },
                            Err(problem) => Err((Some(key), problem)),
                        }
                    });
                if result.is_ok() {
                    ffi::lua_pop(state, 1);
                }
            }
            ffi::lua_settop(state, top);
            result.map(|()| others)
        }
    })
}

/// The key at a place of the stack.
///
/// # Safety
/// It is a value on the stack of the code that runs.
unsafe fn key(state: *mut ffi::lua_State, at: c_int, budget: &mut Budget) -> Result<Key, Problem> {
    budget.nodes(1)?;
    // SAFETY: as required; each function fits the type.
    unsafe {
        match ffi::lua_type(state, at) {
            ffi::LUA_TSTRING => text(state, at, budget).map(Key::Bytes),
            ffi::LUA_TNUMBER if ffi::lua_isinteger(state, at) != 0 => {
                Ok(Key::Int(ffi::lua_tointeger(state, at)))
            }
            ffi::LUA_TNUMBER => {
                Key::float(ffi::lua_tonumber(state, at)).ok_or(Problem::Key { kind: "NaN" })
            }
            ffi::LUA_TBOOLEAN => Ok(Key::Bool(ffi::lua_toboolean(state, at) != 0)),
            ffi::LUA_TTABLE => Err(Problem::Key { kind: "table" }),
            ffi::LUA_TFUNCTION => Err(Problem::Key { kind: "function" }),
            ffi::LUA_TTHREAD => Err(Problem::Key { kind: "thread" }),
            ffi::LUA_TLIGHTUSERDATA => Err(Problem::Key { kind: "lightuserdata" }),
            _ => Err(Problem::Key { kind: "userdata" }),
        }
    }
}

/// The scalar at a place of the stack; `None` if it is none.
///
/// # Safety
/// As for [`key`].
unsafe fn scalar(
    state: *mut ffi::lua_State,
    at: c_int,
    budget: &mut Budget,
) -> Result<Option<Value>, Problem> {
    // SAFETY: as required; each function fits the type.
    let value = unsafe {
        match ffi::lua_type(state, at) {
            ffi::LUA_TNIL => Value::Nil,
            ffi::LUA_TBOOLEAN => Value::Bool(ffi::lua_toboolean(state, at) != 0),
            ffi::LUA_TNUMBER if ffi::lua_isinteger(state, at) != 0 => {
                Value::Int(ffi::lua_tointeger(state, at))
            }
            ffi::LUA_TNUMBER => Value::Float(ffi::lua_tonumber(state, at)),
            ffi::LUA_TSTRING => Value::Bytes(text(state, at, budget)?),
            _ => return Ok(None),
        }
    };
    budget.nodes(1)?;
    Ok(Some(value))
}

/// The bytes of the string at a place of the stack.
///
/// # Safety
/// It is a string.
unsafe fn text(
    state: *mut ffi::lua_State,
    at: c_int,
    budget: &mut Budget,
) -> Result<Bytes, Problem> {
    let mut length = 0;
    // SAFETY: as required; the bytes stay while the string is on the stack.
    let bytes = unsafe {
        let start = ffi::lua_tolstring(state, at, &raw mut length);
        slice::from_raw_parts(start.cast::<u8>(), length)
    };
    budget.bytes(length)?;
    Ok(Bytes::copy_from_slice(bytes))
}

/// Sees to room on the stack for what reading pushes.
///
/// # Safety
/// The state is that of the code that runs.
unsafe fn room(state: *mut ffi::lua_State) -> mlua::Result<()> {
    const VALUES: c_int = 6;
    // SAFETY: as required; it reports that there is no memory, and raises nothing.
    if unsafe { ffi::lua_checkstack(state, VALUES) } == 0 {
        return Err(Error::runtime("stack overflow"));
    }
    Ok(())
}

fn no_room() -> Fault {
    (None, Problem::Unsendable { kind: "this table", hint: "; the VM has no memory left".into() })
}
