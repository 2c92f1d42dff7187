use mlua::{Error, Function, Lua, Table};

use crate::vm::Local;

/// A test that a script has registered.
#[derive(Clone)]
pub(crate) struct Test {
    pub(crate) name: String,
    pub(crate) function: Function,
}

/// The most tests of one script.
const TESTS: usize = 10_000;

/// `test(name, fn)` and `test.equal(actual, expected)`, where scripts are tested.
pub(super) fn install(lua: &Lua, globals: &Table, dump: &Function) -> mlua::Result<()> {
    let register = lua.create_function(register)?;
    let chunk = lua.load(include_str!("test.lua")).set_name("=(stage)");
    globals.raw_set("test", chunk.call::<Table>((register, dump.clone()))?)
}

fn register(lua: &Lua, (name, function): (String, Function)) -> mlua::Result<()> {
    let local = Local::of(lua)?;
    let mut tests = local.tests.borrow_mut();
    if tests.iter().any(|test| test.name == name) {
        return Err(Error::runtime(format!("there is a test '{name}' already")));
    }
    if tests.len() >= TESTS {
        return Err(Error::runtime(format!("a script has at most {TESTS} tests")));
    }
    tests.push(Test { name, function });
    Ok(())
}
