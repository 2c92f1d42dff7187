//! Library functions that are replaced since their loops in C could not be interrupted.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use mlua::{
    AnyUserData, Error, Function, Lua, LuaString, MultiValue, Table, UserData, Value as LuaValue,
};

use crate::pattern::{Capture, Pattern, Progress, Search};

/// The most bytes that `string.rep` makes.
const REPEATED: usize = 64 << 20;

/// A table of fewer items is walked in C.
const ITEMS: usize = 100_000;

/// Bytes of texts that are compared in C, each with each.
const COMPARED: usize = 4_000_000;

/// More values do not fit on a stack of Lua's.
const VALUES: usize = 1_000_000;

/// Steps of a search between two moments at which a handler can be paused: a few milliseconds.
const PORTION: usize = 500_000;

/// The most compiled patterns that are kept, and the longest that is.
const KEPT: usize = 256;
const KEPT_BYTES: usize = 256;

/// Replaces them in the globals of a VM.
///
/// # Errors
/// The VM's own.
pub(super) fn replace(lua: &Lua) -> mlua::Result<()> {
    let globals = lua.globals();
    keep_names(lua)?;
    let most = lua.create_table()?;
    most.raw_set("bytes", REPEATED)?;
    most.raw_set("items", ITEMS)?;
    most.raw_set("compared", COMPARED)?;
    most.raw_set("values", VALUES)?;
    most.raw_set("pattern", Pattern::LONGEST)?;
    let chunk = lua.load(include_str!("bounded.lua")).set_name("=(stage)");
    let replaced: Table = chunk.call((patterns(lua)?, most))?;
    replaced.for_each(|library: String, functions: Table| {
        let library: Table = globals.raw_get(library)?;
        functions.for_each(|name: String, function: Function| library.raw_set(name, function))
    })
}

/// Lets Lua's own functions find their names for errors, under which scripts have others now.
fn keep_names(lua: &Lua) -> mlua::Result<()> {
    let loaded: Table = lua.named_registry_value("_LOADED")?;
    for library in ["string", "table"] {
        let names = lua.create_table()?;
        let functions: Table = lua.globals().raw_get(library)?;
        functions.for_each(|name: LuaValue, value: LuaValue| names.raw_set(name, value))?;
        loaded.raw_set(library, names)?;
    }
    Ok(())
}

/// The patterns of a VM that were compiled, by their text: with `^` as an anchor, and without.
#[derive(Default)]
struct Compiled([RefCell<Kept>; 2]);

type Kept = HashMap<Box<[u8]>, Rc<Pattern>>;

impl Compiled {
    fn get(&self, text: &[u8], anchors: bool) -> mlua::Result<Rc<Pattern>> {
        let [unanchored, anchored] = &self.0;
        let mut kept = if anchors { anchored } else { unanchored }.borrow_mut();
        if let Some(pattern) = kept.get(text) {
            return Ok(Rc::clone(pattern));
        }
        let pattern = Pattern::parse(text, anchors);
        let pattern = Rc::new(pattern.map_err(|error| Error::runtime(error.to_string()))?);
        if text.len() <= KEPT_BYTES {
            if kept.len() >= KEPT {
                kept.clear();
            }
            kept.insert(text.into(), Rc::clone(&pattern));
        }
        Ok(pattern)
    }
}

/// A search that is under way.
struct Searching {
    text: LuaString,
    search: Search,
}

impl UserData for Searching {}

impl Searching {
    /// Goes on for a portion. What it has found, or itself to go on with.
    fn portion(mut self, lua: &Lua) -> mlua::Result<MultiValue> {
        match self.search.go_on(&self.text.as_bytes(), PORTION) {
            Progress::Nowhere => Ok([LuaValue::Nil].into_iter().collect()),
            Progress::Found(from, to) => self.result(lua, from, to),
            Progress::Going => {
                let rest = LuaValue::UserData(lua.create_userdata(self)?);
                Ok([rest].into_iter().collect())
            }
        }
    }

    fn result(&self, lua: &Lua, from: usize, to: usize) -> mlua::Result<MultiValue> {
        let text = self.text.as_bytes();
        let captures = self.search.captures().map(|capture| match capture {
            Capture::Position(at) => Ok(place(at + 1)),
            Capture::Text(from, to) => {
                let captured = text.get(from..to).unwrap_or_default();
                lua.create_string(captured).map(LuaValue::String)
            }
        });
        [Ok(place(from + 1)), Ok(place(to))].into_iter().chain(captures).collect()
    }
}

fn place(at: usize) -> LuaValue {
    // No string of Lua is that long.
    LuaValue::Integer(i64::try_from(at).unwrap_or(i64::MAX))
}

/// What `bounded.lua` needs of the host.
fn patterns(lua: &Lua) -> mlua::Result<Table> {
    type Arguments = (LuaString, LuaString, usize, bool, Option<usize>);
    let table = lua.create_table()?;
    table.raw_set("harmless_length", lua.create_function(harmless_length)?)?;
    table.raw_set("is_plain", lua.create_function(is_plain)?)?;
    let compiled = Compiled::default();
    let begin = move |lua: &Lua, (text, pattern, from, anchors, barred): Arguments| {
        let pattern = compiled.get(&pattern.as_bytes(), anchors)?;
        let search = Search::new(pattern, from.saturating_sub(1), barred);
        Searching { text, search }.portion(lua)
    };
    table.raw_set("begin", lua.create_function(begin)?)?;
    table.raw_set("go_on", lua.create_function(go_on)?)?;
    table.raw_set("find_plain", lua.create_function(find_plain)?)?;
    Ok(table)
}

#[allow(clippy::needless_pass_by_value, reason = "what mlua gives its functions")]
fn harmless_length(_: &Lua, (pattern, anchors): (LuaString, bool)) -> mlua::Result<i64> {
    let pattern = Pattern::parse(&pattern.as_bytes(), anchors);
    // One that is malformed is found out before any matching.
    let length = pattern.map_or(0, |pattern| pattern.harmless_length());
    Ok(i64::try_from(length).unwrap_or(i64::MAX))
}

#[allow(clippy::needless_pass_by_value, reason = "what mlua gives its functions")]
fn is_plain(_: &Lua, pattern: LuaString) -> mlua::Result<bool> {
    Ok(!pattern.as_bytes().iter().any(|byte| b"^$*+?.([%-".contains(byte)))
}

#[allow(clippy::needless_pass_by_value, reason = "what mlua gives its functions")]
fn go_on(lua: &Lua, search: AnyUserData) -> mlua::Result<MultiValue> {
    search.take::<Searching>()?.portion(lua)
}

/// Where a text begins and ends within another one, from a place on; else nil. O(both).
#[allow(clippy::needless_pass_by_value, reason = "what mlua gives its functions")]
fn find_plain(
    _: &Lua,
    (text, wanted, from): (LuaString, LuaString, usize),
) -> mlua::Result<MultiValue> {
    let (text, wanted) = (text.as_bytes(), wanted.as_bytes());
    let rest = text.get(from.saturating_sub(1)..).unwrap_or_default();
    Ok(match memchr::memmem::find(rest, &wanted) {
        Some(at) => [place(from + at), place(from + at + wanted.len() - 1)].into_iter().collect(),
        None => [LuaValue::Nil].into_iter().collect(),
    })
}

#[cfg(test)]
mod tests;
