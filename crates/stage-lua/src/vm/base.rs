//! What scripts and sandboxed functions find in their globals.

use std::ffi::c_void;
use std::rc::Rc;

use bytes::Bytes;
use mlua::chunk::ChunkMode;
use mlua::{Error, Function, Lua, LuaString, MultiValue, Table, Value as LuaValue};

use super::bounded;
use crate::error::{first_line, without_host_place};
use crate::function::{Sources, refuse_close};
use crate::preempt;
use crate::script::SCRIPT_BYTES;
use crate::view::Views;

/// What a script may use of the `os` library.
const OS: [&str; 3] = ["time", "clock", "date"];

/// Globals that neither scripts nor sandboxes have: they reach files, load bytecode or stop the
/// collector.
const REMOVED: [&str; 3] = ["dofile", "loadfile", "collectgarbage"];

/// Globals of the base library that a sandbox has.
const SANDBOX_FUNCTIONS: [&str; 14] = [
    "assert", "error", "ipairs", "next", "pairs", "pcall", "rawequal", "rawget", "rawlen",
    "select", "tonumber", "tostring", "type", "xpcall",
];

/// Globals of STAGE that a sandbox has.
const SANDBOX_STAGE: [&str; 7] = ["__", "logger", "print", "process", "sleep", "stage", "thread"];

/// Libraries of which a sandbox has read-only views.
const SANDBOX_LIBRARIES: [&str; 9] =
    ["coroutine", "db", "http", "json", "math", "os", "string", "table", "utf8"];

/// The first byte of what `string.dump` makes.
const BYTECODE: u8 = 0x1b;

const NO_BYTECODE: &str = "load takes text only: bytecode cannot be checked";

/// Reduces the globals of a fresh VM to what scripts may use.
///
/// # Errors
/// The VM's own.
pub(crate) fn restrict(
    lua: &Lua,
    sources: &Rc<Sources>,
    views: &Views,
    raised: &Table,
) -> mlua::Result<()> {
    let globals = lua.globals();
    let os: Table = globals.get("os")?;
    let allowed = lua.create_table()?;
    for name in OS {
        allowed.raw_set(name, os.get::<LuaValue>(name)?)?;
    }
    globals.raw_set("os", allowed)?;
    for name in REMOVED {
        globals.raw_set(name, LuaValue::Nil)?;
    }
    globals.get::<Table>("string")?.raw_set("dump", LuaValue::Nil)?;
    if let Some(metatable) = lua.type_metatable::<LuaString>() {
        metatable.raw_set("__metatable", false)?;
    }
    globals.raw_set("load", load(lua, Rc::clone(sources))?)?;
    let error_text = lua.create_function(error_text)?;
    let replaced: Table = lua.load(include_str!("prelude.lua")).set_name("=(stage)").call((
        error_text,
        Lua::poll_pending(),
        views.registry(),
        views.next(),
        preempt::functions(lua)?,
        raised,
    ))?;
    bounded::replace(lua)?;
    let coroutine: Table = globals.get("coroutine")?;
    replaced
        .get::<Table>("coroutine")?
        .for_each(|name: String, function: Function| coroutine.raw_set(name, function))?;
    replaced
        .get::<Table>("base")?
        .for_each(|name: String, function: Function| globals.raw_set(name, function))
}

/// What a script that catches an error gets: text in place of the host's error objects.
fn error_text(lua: &Lua, error: LuaValue) -> mlua::Result<LuaValue> {
    match error {
        LuaValue::Error(error) => lua.create_string(first_line(&error)).map(LuaValue::String),
        LuaValue::String(text) => match text.to_str() {
            Ok(text) => lua.create_string(without_host_place(&text)).map(LuaValue::String),
            Err(_) => Ok(LuaValue::String(text)),
        },
        other => Ok(other),
    }
}

/// The globals behind every sandboxed function of a VM: views that no function can change for the
/// others.
///
/// # Errors
/// The VM's own.
pub(crate) fn sandbox_base(lua: &Lua) -> mlua::Result<Table> {
    let globals = lua.globals();
    let base = lua.create_table()?;
    for name in SANDBOX_FUNCTIONS {
        base.raw_set(name, globals.raw_get::<LuaValue>(name)?)?;
    }
    let mut shared = vec![base.to_pointer()];
    for name in SANDBOX_LIBRARIES.into_iter().chain(SANDBOX_STAGE) {
        let value = match globals.raw_get(name)? {
            LuaValue::Table(library) => LuaValue::Table(read_only(lua, &library, &mut shared)?),
            other => other,
        };
        base.raw_set(name, value)?;
    }
    base.raw_set("_VERSION", globals.raw_get::<LuaValue>("_VERSION")?)?;
    base.raw_set("getmetatable", globals.raw_get::<LuaValue>("getmetatable")?)?;
    base.raw_set("setmetatable", globals.raw_get::<LuaValue>("setmetatable")?)?;
    base.raw_set("rawset", guarded_rawset(lua, &globals, shared)?)?;
    Ok(base)
}

/// A view of a table, and of the tables in it, that can be read and walked but not changed.
fn read_only(lua: &Lua, table: &Table, shared: &mut Vec<*const c_void>) -> mlua::Result<Table> {
    let behind = lua.create_table()?;
    behind.set_metatable(table.metatable())?;
    let mut nested = Vec::new();
    table.for_each(|key: LuaValue, value: LuaValue| match value {
        LuaValue::Table(inner) => {
            nested.push((key, inner));
            Ok(())
        }
        other => behind.raw_set(key, other),
    })?;
    for (key, inner) in nested {
        behind.raw_set(key, read_only(lua, &inner, shared)?)?;
    }
    let metatable = lua.create_table()?;
    metatable.raw_set("__pairs", walk(lua, &behind)?)?;
    metatable.raw_set("__index", behind)?;
    metatable.raw_set("__newindex", lua.create_function(refuse_write)?)?;
    metatable.raw_set("__metatable", false)?;
    let view = lua.create_table()?;
    view.set_metatable(Some(metatable))?;
    shared.push(view.to_pointer());
    Ok(view)
}

/// `__pairs` of a view: walks what is behind it without handing it out.
fn walk(lua: &Lua, behind: &Table) -> mlua::Result<Function> {
    let next: Function = lua.globals().raw_get("next")?;
    let behind = behind.clone();
    let step = lua.create_function(move |_, (_, key): (LuaValue, LuaValue)| {
        next.call::<MultiValue>((behind.clone(), key))
    })?;
    lua.create_function(move |_, view: LuaValue| Ok((step.clone(), view, LuaValue::Nil)))
}

fn refuse_write(_: &Lua, (_, key, _): (LuaValue, LuaValue, LuaValue)) -> mlua::Result<()> {
    let key = key.to_string().unwrap_or_default();
    Err(Error::runtime(format!("cannot change '{key}': the library is shared by all functions")))
}

/// `rawset` that keeps off the tables that sandboxed functions share.
fn guarded_rawset(
    lua: &Lua,
    globals: &Table,
    shared: Vec<*const c_void>,
) -> mlua::Result<Function> {
    let rawset: Function = globals.raw_get("rawset")?;
    lua.create_function(move |lua, args: MultiValue| {
        if let Some(LuaValue::Table(table)) = args.front()
            && shared.contains(&table.to_pointer())
        {
            let key = args.get(1).cloned().unwrap_or(LuaValue::Nil);
            refuse_write(lua, (LuaValue::Nil, key, LuaValue::Nil))?;
        }
        rawset.call::<MultiValue>(args)
    })
}

/// `load` of text, which keeps the text so that its functions can travel.
fn load(lua: &Lua, sources: Rc<Sources>) -> mlua::Result<Function> {
    type Arguments = (LuaValue, Option<String>, Option<String>, Option<LuaValue>);
    lua.create_function(move |lua, (chunk, name, mode, env): Arguments| {
        if mode.is_some_and(|mode| !mode.contains('t')) {
            return failed(lua, NO_BYTECODE);
        }
        let text = match chunk {
            LuaValue::String(text) if text.as_bytes().len() > SCRIPT_BYTES => {
                return too_large(lua);
            }
            LuaValue::String(text) => text.as_bytes().to_vec(),
            LuaValue::Function(reader) => match read_pieces(&reader)? {
                Some(text) => text,
                None => return too_large(lua),
            },
            other => {
                let kind = other.type_name();
                return Err(Error::runtime(format!(
                    "bad argument #1 to 'load' (string expected, got {kind})"
                )));
            }
        };
        if text.first() == Some(&BYTECODE) {
            return failed(lua, NO_BYTECODE);
        }
        let name = name.unwrap_or_else(|| String::from_utf8_lossy(&text).into_owned());
        let name = name.replace('\0', " ");
        if let Err(error) = refuse_close(&format!("[string \"{name}\"]"), &text) {
            return failed(lua, &first_line(&error));
        }
        let mut chunk = lua.load(text.clone()).set_name(&name).set_mode(ChunkMode::Text);
        match env {
            Some(LuaValue::Table(env)) => chunk = chunk.set_environment(env),
            Some(other) => {
                let kind = other.type_name();
                return failed(lua, &format!("load takes a table as environment, not a {kind}"));
            }
            None => {}
        }
        match chunk.into_function() {
            Ok(function) => {
                sources.keep(name.trim_start_matches(['@', '=']), Bytes::from(text));
                Ok((LuaValue::Function(function), LuaValue::Nil))
            }
            Err(error) => failed(lua, &first_line(&error)),
        }
    })
}

fn failed(lua: &Lua, message: &str) -> mlua::Result<(LuaValue, LuaValue)> {
    Ok((LuaValue::Nil, LuaValue::String(lua.create_string(message)?)))
}

fn too_large(lua: &Lua) -> mlua::Result<(LuaValue, LuaValue)> {
    failed(lua, &format!("load takes a text of at most {SCRIPT_BYTES} bytes"))
}

/// The pieces that a reader function of `load` returns, up to nil or an empty string; `None` if that is too much.
fn read_pieces(reader: &Function) -> mlua::Result<Option<Vec<u8>>> {
    let mut text = Vec::new();
    while let Some(piece) = reader.call::<Option<LuaString>>(())? {
        if piece.as_bytes().is_empty() {
            break;
        }
        text.extend_from_slice(&piece.as_bytes());
        if text.len() > SCRIPT_BYTES {
            return Ok(None);
        }
    }
    Ok(Some(text))
}
