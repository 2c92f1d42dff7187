use mlua::{Error, Lua, LuaString, Table, Value as LuaValue};
use stage_value::{Budget, json};

use crate::convert::{Packer, Unpacker};
use crate::vm::Local;

/// `json.encode(value)` and `json.decode(text)`, within the limits of a message.
pub(super) fn install(lua: &Lua, globals: &Table) -> mlua::Result<()> {
    let library = lua.create_table()?;
    library.raw_set("encode", lua.create_function(encode)?)?;
    library.raw_set("decode", lua.create_function(decode)?)?;
    globals.raw_set("json", library)
}

/// A table with the keys 1 to n is an array, the empty one too; any other is an object.
fn encode(lua: &Lua, value: LuaValue) -> mlua::Result<LuaString> {
    let local = Local::of(lua)?;
    let value = Packer::new(lua, &local, local.options.values)
        .pack_one("value", value)
        .map_err(Error::external)?;
    let json = json::to_json(&value).map_err(Error::external)?;
    lua.create_string(json.to_string())
}

/// `null` becomes nil, so a null in an object is no entry.
#[allow(clippy::needless_pass_by_value, reason = "what mlua gives its functions")]
fn decode(lua: &Lua, text: LuaString) -> mlua::Result<LuaValue> {
    let local = Local::of(lua)?;
    let limits = local.options.values;
    if text.as_bytes().len() > limits.bytes {
        return Err(Error::runtime(format!("the text has more than {} bytes", limits.bytes)));
    }
    let parsed = serde_json::from_slice(&text.as_bytes())
        .map_err(|error| Error::runtime(format!("this is not JSON: {error}")))?;
    let value = json::from_json(parsed);
    Budget::new(limits).value(&value, 0).map_err(|problem| Error::runtime(problem.to_string()))?;
    Unpacker::new(lua, &local).unpack(value)
}
