//! Taking a VM back from code that does not give it back by itself.
//!
//! Nothing watches a handler that keeps to its quantum: a hook that is always there would make Lua two
//! to three times slower. One thread per process, the [`watchdog`], looks every few milliseconds at
//! all VMs. One that has been at the same slice for longer than a quantum gets a signal on its thread,
//! whose handler sets Lua's count hook in the coroutine that runs. At the next instruction the
//! hook yields to the host, so that other handlers go on, or raises an error once the handler has
//! computed for longer than it may without waiting.
//!
//! What it takes of unsafe code is in [`raw`](crate::raw). Where [`self_test`] finds that signals do not do it, the hook
//! is always there, and Lua slower.

pub(crate) mod sampling;
mod self_test;
pub(crate) mod slot;
pub(crate) mod watchdog;

use std::time::Duration;

use mlua::{Function, Lua, Table};

use crate::raw;
pub(crate) use crate::raw::{Entry, MainState, Post, Sliced};
pub(crate) use sampling::{collect as collect_samples, collect_no_more as collect_no_samples};
pub(crate) use self_test::self_test;
pub(crate) use slot::Slice;
pub(crate) use watchdog::sample;

/// How long a handler may compute.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Before others may run in between.
    pub(crate) quantum: Duration,
    /// In all, without waiting for anything.
    pub(crate) busy: Duration,
}

/// What the prelude needs to keep track of the running coroutine.
///
/// # Errors
/// The VM's own.
pub(crate) fn functions(lua: &Lua) -> mlua::Result<Table> {
    let functions = lua.create_table()?;
    for (name, function) in raw::functions(lua)? {
        functions.raw_set(name, function)?;
    }
    Ok(functions)
}

/// A function that calls the one it is given, noted as what the thread runs; and the VM's own state.
///
/// # Errors
/// The VM's own.
pub(crate) fn entry(lua: &Lua) -> mlua::Result<(Function, MainState)> {
    Ok((functions(lua)?.raw_get("call")?, raw::main_state(lua)?))
}
