use mlua::{Function, Lua, LuaString, MultiValue, Table, Value as LuaValue};

use crate::Output;
use crate::run::Run;

/// `print(...)` and `logger.debug/info/warn/error(...)`.
pub(super) fn install(lua: &Lua, globals: &Table, output: &Output) -> mlua::Result<()> {
    let tostring: Function = globals.raw_get("tostring")?;
    let (to_text, output) = (tostring.clone(), output.clone());
    let print = lua.create_function(move |_, args: MultiValue| {
        output.line(joined(&to_text, args)?);
        Ok(())
    })?;
    globals.raw_set("print", print)?;
    globals.raw_set("logger", logger(lua, &tostring)?)
}

fn logger(lua: &Lua, tostring: &Function) -> mlua::Result<Table> {
    let logger = lua.create_table()?;
    for level in ["debug", "info", "warn", "error"] {
        let tostring = tostring.clone();
        let log = lua.create_function(move |lua, args: MultiValue| {
            let text = joined(&tostring, args)?;
            log(lua, level, &String::from_utf8_lossy(&text));
            Ok(())
        })?;
        logger.raw_set(level, log)?;
    }
    Ok(logger)
}

fn log(lua: &Lua, level: &str, text: &str) {
    let run = Run::current();
    let stage = run.as_ref().map_or("", |run| run.home.stage.as_str());
    let at = caller(lua);
    match level {
        "debug" => tracing::debug!(target: "script", stage, at, "{text}"),
        "info" => tracing::info!(target: "script", stage, at, "{text}"),
        "warn" => tracing::warn!(target: "script", stage, at, "{text}"),
        _ => tracing::error!(target: "script", stage, at, "{text}"),
    }
}

/// File and line of the script that calls.
fn caller(lua: &Lua) -> String {
    lua.inspect_stack(1, |frame| {
        let source = frame.source();
        let file = source.short_src.unwrap_or_default().into_owned();
        format!("{file}:{}", frame.current_line().unwrap_or(0))
    })
    .unwrap_or_default()
}

/// The arguments as Lua's own `print` writes them, with tabs between.
fn joined(tostring: &Function, args: MultiValue) -> mlua::Result<Vec<u8>> {
    let mut line = Vec::new();
    for (index, value) in args.into_iter().enumerate() {
        if index > 0 {
            line.push(b'\t');
        }
        match value {
            LuaValue::String(text) => line.extend_from_slice(&text.as_bytes()),
            other => {
                let text: LuaString = tostring.call(other)?;
                line.extend_from_slice(&text.as_bytes());
            }
        }
    }
    Ok(line)
}
