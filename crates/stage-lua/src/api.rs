//! What scripts call: the globals of STAGE.

pub(crate) mod broadcasts;
mod call;
#[cfg(feature = "db")]
mod db;
mod dump;
#[cfg(feature = "http")]
mod http;
pub(crate) mod in_order;
mod json;
pub(crate) mod module;
#[cfg(any(feature = "db", feature = "http"))]
mod outside;
mod print;
mod process;
pub(crate) mod shared;
pub(crate) mod signal;
mod sleep;
mod submit;
mod task;
pub(crate) mod test;
pub(crate) mod thread;
mod ticket;
mod time;
#[cfg(any(feature = "db", feature = "http"))]
pub(crate) mod unfinished;
mod variables;
mod waitfor;

use std::rc::Rc;
use std::sync::Arc;

use mlua::{FromLua, Function, Lua, MultiValue, Table, Value as LuaValue};
use stage_value::Value;

use self::module::Modules;
use crate::convert::Unpacker;
use crate::error::ScriptFailure;
use crate::run::{Run, execute, log_failure};
use crate::services::Services;
use crate::vm::{Handler, Local};

pub(crate) use variables::install as install_variables;

/// A table that a script hands in, as one of the VM's own: a shared one is read where it is, and holds nothing itself.
fn own_table(lua: &Lua, local: &Local, table: Table) -> mlua::Result<Table> {
    let Some(value) = local.views.value(lua, &table) else { return Ok(table) };
    Unpacker::new(lua, local).unpack(value).and_then(|table| Table::from_lua(table, lua))
}

/// Puts the API into the globals of a VM; returns what shows a value as text, and the modules.
///
/// # Errors
/// The VM's own.
pub(crate) fn install_globals(
    lua: &Lua,
    services: &Services,
    testing: bool,
) -> mlua::Result<(Function, Modules)> {
    let globals = lua.globals();
    let stage = lua.create_table()?;
    waitfor::install(lua, &stage)?;
    call::install(lua, &stage)?;
    signal::install(lua, &stage)?;
    submit::install(lua, &stage)?;
    task::install(lua, &stage)?;
    time::install(lua, &stage, services, testing)?;
    shared::install(lua, &globals, &stage)?;
    sleep::install(lua, &globals)?;
    print::install(lua, &globals, &services.parts.output)?;
    process::install(lua, &globals, services)?;
    thread::install(lua, &globals)?;
    json::install(lua, &globals)?;
    #[cfg(feature = "db")]
    db::install(lua, &globals, services)?;
    #[cfg(feature = "http")]
    http::install(lua, &globals)?;
    let modules = module::install(lua, &stage)?;
    let dump = dump::install(lua, &stage)?;
    if testing {
        test::install(lua, &globals, &dump)?;
    }
    globals.raw_set("stage", stage)?;
    Ok((dump, modules))
}

/// The arguments of a message behind those that the handler was registered with.
///
/// # Errors
/// The VM's own, such as its memory limit.
pub(crate) fn with_bound(
    lua: &Lua,
    local: &Local,
    handler: &Handler,
    args: Vec<Value>,
) -> mlua::Result<MultiValue> {
    let mut all: MultiValue = handler.bound.iter().cloned().collect();
    all.extend(Unpacker::new(lua, local).unpack_all(args)?);
    Ok(all)
}

/// Runs a handler of this instance that nobody waits for; what it raises is logged.
pub(crate) async fn run_handler(
    lua: &Lua,
    local: &Rc<Local>,
    name: Arc<str>,
    handler: &Handler,
    args: Vec<Value>,
) {
    let Some(home) = &local.home else { return };
    let run = Rc::new(Run::new(name, home.clone()));
    let running = home.mailbox.enter();
    let result = match run.take_in(args, |args| with_bound(lua, local, handler, args)) {
        Ok(args) => execute(local, Rc::clone(&run), handler.function.clone(), args).await,
        Err(error) => Err(ScriptFailure::from(&error)),
    };
    if let Err(failure) = result {
        log_failure(local, &run, &failure);
    }
    local.services.counters.handled(run.busy.get());
    drop(running);
}

/// What gives a script the results of the host, or raises its failure.
#[cfg(any(feature = "db", feature = "http"))]
fn failures(lua: &Lua) -> mlua::Result<Function> {
    lua.load(include_str!("api/failure.lua")).set_name("=(stage)").eval()
}

/// The error of a wrong argument, worded as Lua words it.
pub(crate) fn bad_argument(
    position: usize,
    function: &str,
    expected: &str,
    got: &LuaValue,
) -> mlua::Error {
    let got = if got.is_integer() { "number" } else { got.type_name() };
    mlua::Error::runtime(format!(
        "bad argument #{position} to '{function}' ({expected} expected, got {got})"
    ))
}

/// The milliseconds in a number that a function returned to run again; `None` to stop.
pub(crate) fn repeat_after(value: Option<&Value>) -> Option<std::time::Duration> {
    let millis = match value? {
        Value::Int(millis) => *millis as f64,
        Value::Float(millis) => *millis,
        _ => return None,
    };
    (millis > 0.0).then(|| duration_of(millis / 1000.0))
}

/// A Lua number of either kind.
pub(crate) fn number(value: &LuaValue) -> Option<f64> {
    match value {
        LuaValue::Integer(number) => Some(*number as f64),
        LuaValue::Number(number) => Some(*number),
        _ => None,
    }
}

/// A time span from seconds that a script gave; what exceeds a year is a year.
pub(crate) fn duration_of(seconds: f64) -> std::time::Duration {
    const YEAR: f64 = 366.0 * 24.0 * 3600.0;
    let seconds = if seconds.is_nan() { 0.0 } else { seconds.clamp(0.0, YEAR) };
    std::time::Duration::from_secs_f64(seconds)
}
