//! How what runs outside of the VM tells a script of its end: `true` and results, or `false` and a failure.

use std::rc::Rc;

use mlua::{AnyUserData, Error, IntoLuaMulti, Lua, MultiValue, Value as LuaValue};

use super::unfinished::{Handle, Wait};
use crate::run::Run;
use crate::testing::Testing;
use crate::vm::Local;

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
pub(super) fn wait<F: Future + 'static>(
    lua: &Lua,
    future: F,
) -> mlua::Result<Wait<impl Future<Output = F::Output> + use<F>>> {
    let held = Local::of(lua)?.options.testing.as_ref().map(Testing::wait);
    let waits = async move {
        let result = future.await;
        drop(held);
        result
    };
    Ok(current()?.unfinished.wait(waits))
}

/// Leaves something open in the run that a call belongs to, and gives the script's handle on it.
///
/// # Errors
/// As [`current`], and if too much is open.
pub(super) fn open<T: 'static>(lua: &Lua, what: T) -> mlua::Result<AnyUserData> {
    lua.create_any_userdata(current()?.unfinished.add(what).map_err(Error::runtime)?)
}

/// Takes what the run has left open, to be put back there; `None` if it is over.
///
/// # Errors
/// As [`current`], and if the handle is another run's.
pub(super) fn take<T: 'static>(handle: &Handle) -> mlua::Result<(Rc<Run>, Option<T>)> {
    let run = current()?;
    let taken = run.unfinished.take(handle).map_err(Error::external)?;
    Ok((run, taken))
}

pub(super) fn given(lua: &Lua, results: impl IntoLuaMulti) -> mlua::Result<MultiValue> {
    let mut all = results.into_lua_multi(lua)?;
    all.push_front(LuaValue::Boolean(true));
    Ok(all)
}
