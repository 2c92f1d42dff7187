//! How what runs outside of the VM tells a script of its end: `true` and results, or `false` and a failure.

use std::rc::Rc;

use mlua::{Error, IntoLuaMulti, Lua, MultiValue, Value as LuaValue};

use super::unfinished::Wait;
use crate::run::Run;

/// The run that a call belongs to: what it leaves open ends with that.
///
/// # Errors
/// Outside of any run, as in a finalizer.
pub(super) fn current() -> mlua::Result<Rc<Run>> {
    Run::current().ok_or_else(|| Error::runtime("no handler runs here"))
}

/// A wait that ends with the run which begins it.
///
/// # Errors
/// As [`current`].
pub(super) fn wait<F: Future + 'static>(future: F) -> mlua::Result<Wait<F>> {
    Ok(current()?.unfinished.wait(future))
}

pub(super) fn given(lua: &Lua, results: impl IntoLuaMulti) -> mlua::Result<MultiValue> {
    let mut all = results.into_lua_multi(lua)?;
    all.push_front(LuaValue::Boolean(true));
    Ok(all)
}
