//! Values made in a VM, all in one protected call.
//!
//! Why it is sound: making may raise for want of memory, and Lua raises by a leap over the frames between. So the steps
//! are listed before, and what carries them out has nothing to drop. Steps that take from the stack come after those that
//! have put it there; room for all of them is asked for first.

use std::ffi::c_int;

use mlua::{Function, Lua, MultiValue, Table, ffi};
use stage_value::{Key, Value};

/// Containers within each other that are listed, on the native stack.
const DEEPEST: usize = 256;

/// The steps by which values are made, one after the other on the stack.
#[derive(Default)]
pub(crate) struct Plan<'a> {
    steps: Vec<Step<'a>>,
    values: usize,
    deepest: usize,
}

enum Step<'a> {
    Scalar(&'a Value),
    Key(&'a Key),
    /// A table with room for so many items and entries.
    Table(c_int, c_int),
    /// The value on top becomes this item of the table below it.
    Item(ffi::lua_Integer),
    /// The value on top becomes the entry of the key below it.
    Entry,
}

impl<'a> Plan<'a> {
    /// The plan for some values; `None` if there is a function in them, or if they are very deep.
    pub(crate) fn of(values: impl IntoIterator<Item = &'a Value>) -> Option<Self> {
        let mut plan = Self::default();
        values.into_iter().try_for_each(|value| plan.add(value))?;
        Some(plan)
    }

    /// One more value; `None`, and nothing is added, if it cannot be made so.
    pub(crate) fn add(&mut self, value: &'a Value) -> Option<()> {
        let before = self.steps.len();
        let added = self.list(value, 0);
        match added {
            Some(()) => self.values += 1,
            None => self.steps.truncate(before),
        }
        added
    }

    fn list(&mut self, value: &'a Value, depth: usize) -> Option<()> {
        self.deepest = depth.max(self.deepest);
        match value {
            Value::Function(_) => return None,
            Value::List(_) | Value::Map(_) if depth == DEEPEST => return None,
            Value::List(items) => {
                self.steps.reserve(2 * items.len() + 1);
                self.steps.push(Step::Table(count(items.len()), 0));
                for (item, index) in items.iter().zip(1..) {
                    self.list(item, depth + 1)?;
                    self.steps.push(Step::Item(index));
                }
            }
            Value::Map(map) => {
                self.steps.reserve(3 * map.len() + 1);
                self.steps.push(Step::Table(0, count(map.len())));
                for (key, value) in map {
                    self.steps.push(Step::Key(key));
                    self.list(value, depth + 1)?;
                    self.steps.push(Step::Entry);
                }
            }
            scalar => self.steps.push(Step::Scalar(scalar)),
        }
        Some(())
    }

    /// Values in the VM.
    ///
    /// # Errors
    /// The VM's own, such as its memory limit.
    pub(crate) fn make(&self, lua: &Lua) -> mlua::Result<MultiValue> {
        // SAFETY: it runs protected, on a stack of its own.
        unsafe { lua.exec_raw((), |state| self.carry_out(state)) }
    }

    /// A function of a factory, which gets an environment and then these values; and the environment. With a metatable, one is made if
    /// there is none.
    ///
    /// # Errors
    /// What the factory raises, and the VM's own.
    pub(crate) fn make_function(
        &self,
        lua: &Lua,
        factory: &Function,
        metatable: Option<&Table>,
        env: Option<&Table>,
    ) -> mlua::Result<(Function, Option<Table>)> {
        let values = count(self.values);
        // SAFETY: it runs protected, on a stack of its own that begins with the three arguments.
        unsafe {
            lua.exec_raw((factory, metatable, env), |state| {
                if ffi::lua_isnil(state, 3) != 0 && ffi::lua_isnil(state, 2) == 0 {
                    ffi::lua_createtable(state, 0, 0);
                    ffi::lua_replace(state, 3);
                    ffi::lua_pushvalue(state, 2);
                    ffi::lua_setmetatable(state, 3);
                }
                ffi::lua_pushvalue(state, 1);
                ffi::lua_pushvalue(state, 3);
                self.carry_out(state);
                ffi::lua_call(state, values + 1, 1);
                ffi::lua_replace(state, 2);
                ffi::lua_remove(state, 1);
            })
        }
    }

    /// # Safety
    /// It runs protected.
    unsafe fn carry_out(&self, state: *mut ffi::lua_State) {
        let most = count(self.values.saturating_add(3 * self.deepest + 4));
        // SAFETY: as required, and see the top.
        unsafe {
            ffi::luaL_checkstack(state, most, c"too many values at once".as_ptr());
            for step in &self.steps {
                step.take(state);
            }
        }
    }
}

impl Step<'_> {
    /// # Safety
    /// It runs protected, with room on the stack, after the steps before it.
    unsafe fn take(&self, state: *mut ffi::lua_State) {
        // SAFETY: as required.
        unsafe {
            match self {
                Step::Scalar(Value::Bool(value)) => {
                    ffi::lua_pushboolean(state, c_int::from(*value));
                }
                Step::Scalar(Value::Int(value)) => ffi::lua_pushinteger(state, *value),
                Step::Scalar(Value::Float(value)) => ffi::lua_pushnumber(state, *value),
                Step::Scalar(Value::Bytes(bytes)) => push_text(state, bytes),
                Step::Scalar(_) => ffi::lua_pushnil(state),
                Step::Key(Key::Bool(value)) => ffi::lua_pushboolean(state, c_int::from(*value)),
                Step::Key(Key::Int(value)) => ffi::lua_pushinteger(state, *value),
                Step::Key(Key::Float(value)) => ffi::lua_pushnumber(state, *value),
                Step::Key(Key::Bytes(bytes)) => push_text(state, bytes),
                // Raises that a key is nil.
                Step::Key(_) => ffi::lua_pushnil(state),
                Step::Table(items, entries) => ffi::lua_createtable(state, *items, *entries),
                Step::Item(index) => ffi::lua_rawseti(state, -2, *index),
                Step::Entry => ffi::lua_rawset(state, -3),
            }
        }
    }
}

/// # Safety
/// As for [`Step::take`].
unsafe fn push_text(state: *mut ffi::lua_State, bytes: &[u8]) {
    // SAFETY: as required; Lua copies the bytes.
    unsafe { ffi::lua_pushlstring(state, bytes.as_ptr().cast(), bytes.len()) };
}

fn count(of: usize) -> c_int {
    c_int::try_from(of).unwrap_or(c_int::MAX / 2)
}
