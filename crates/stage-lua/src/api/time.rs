use std::time::{SystemTime, UNIX_EPOCH};

use mlua::{Lua, Table};

use crate::services::Services;

/// `stage.clock()`: seconds since the start of the node that only ever go forward. `stage.now()`: seconds since 1970 with
/// their fraction, as the machine's clock has them.
pub(super) fn install(
    lua: &Lua,
    stage: &Table,
    services: &Services,
    testing: bool,
) -> mlua::Result<()> {
    let start = services.started;
    let clock = move |_: &Lua, ()| Ok(start.elapsed().as_secs_f64());
    stage.raw_set("clock", lua.create_function(clock)?)?;
    let begun = SystemTime::now();
    let now = move |_: &Lua, ()| {
        // Where scripts are tested, the clock may be ahead of the machine's.
        let now = if testing { begun + start.elapsed() } else { SystemTime::now() };
        Ok(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64())
    };
    let now = lua.create_function(now)?;
    if testing {
        let os: Table = lua.globals().raw_get("os")?;
        lua.load(TESTED).set_name("=(stage)").call::<()>((os, &now))?;
    }
    stage.raw_set("now", now)
}

/// `os.time()` and `os.date()` by the clock of a test.
const TESTED: &str = "
local os, now = ...
local time, date, floor = os.time, os.date, math.floor
function os.time(parts)
    if parts == nil then return floor(now()) end
    return time(parts)
end
function os.date(format, at)
    return date(format or '%c', at or floor(now()))
end";
