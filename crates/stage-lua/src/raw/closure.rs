//! What a closure consists of: its captured variables, and the code that it shares with other closures.
//!
//! Why it is sound:
//!
//! - `lua_getupvalue` and `lua_setupvalue` neither raise nor allocate, and are given a function that has just been
//!   pushed, on a stack that was asked for room before.
//! - The place of the code is read out of the closure itself, which the reference to the function keeps alive. A Lua
//!   closure of Lua 5.4 is `next, tt, marked, nupvalues, gclist, p, upvals`; `p` is its fourth word and lies within every
//!   such closure. What is read is compared, never followed. A [self-test](Closures::open) looks whether closures of one function
//!   have one place and those of two functions have two; where not, no function has a known place.

use std::ffi::{CStr, c_int, c_void};

use mlua::{Error, Function, IntoLua, Lua, Table, Value as LuaValue, ffi};

/// Words of a Lua closure before the place of its code.
const CODE: usize = 3;

/// Where the code of a function lies. Two functions that are alive have the same place only if they have the same code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Code(usize);

/// The host's view of the closures of a VM.
pub(crate) struct Closures {
    shows_code: bool,
    /// Functions by number, for as long as the VM has them.
    alive: Table,
}

impl Closures {
    /// Looks whether the places of code are where they should be; if not, none is known.
    ///
    /// # Errors
    /// The VM's own.
    pub(crate) fn open(lua: &Lua) -> mlua::Result<Self> {
        const SAMPLES: &str = "local function make(a) return function() return a end end
            return make(1), make(2), function(a) return a end, print";
        let samples = lua.load(SAMPLES).set_name("=(stage)");
        let (one, same, other, library): (Function, Function, Function, Function) =
            samples.call(())?;
        let weak = lua.create_table()?;
        weak.raw_set("__mode", "v")?;
        let alive = lua.create_table()?;
        alive.set_metatable(Some(weak))?;
        let shown = Self { shows_code: true, alive };
        let shows_code = shown.code(lua, &one).is_some()
            && shown.code(lua, &one) == shown.code(lua, &same)
            && shown.code(lua, &one) != shown.code(lua, &other)
            && shown.code(lua, &library).is_none();
        Ok(Self { shows_code, ..shown })
    }

    /// Notes a function under a number, or that nobody asks for the number any more.
    ///
    /// # Errors
    /// The VM's own.
    pub(crate) fn note(&self, number: usize, function: Option<&Function>) -> mlua::Result<()> {
        self.alive.raw_set(number, function)
    }

    /// Whether the VM still has the function of a number.
    pub(crate) fn is_alive(&self, lua: &Lua, number: usize) -> bool {
        let Ok(number) = ffi::lua_Integer::try_from(number) else { return false };
        let kind = with(lua, &self.alive, |state| {
            // SAFETY: the table that was pushed; to read it by a number neither raises nor allocates.
            unsafe {
                let kind = ffi::lua_rawgeti(state, -1, number);
                ffi::lua_pop(state, 1);
                kind
            }
        });
        kind == Some(ffi::LUA_TFUNCTION)
    }

    /// Where the code of a Lua function lies; `None` for others, and where that is not known.
    pub(crate) fn code(&self, lua: &Lua, function: &Function) -> Option<Code> {
        if !self.shows_code {
            return None;
        }
        let closure = with(lua, function, |state| {
            // SAFETY: the function that was pushed.
            unsafe {
                let is_lua = ffi::lua_iscfunction(state, -1) == 0;
                if is_lua { ffi::lua_topointer(state, -1) } else { std::ptr::null() }
            }
        })?;
        if closure.is_null() {
            return None;
        }
        // SAFETY: see the top; the word is aligned, as all of a closure's are.
        let code = unsafe { closure.cast::<*const c_void>().add(CODE).read() };
        Some(Code(code.addr()))
    }
}

/// Name and value of each captured variable of a function, in its own order. A name is empty if it is not known.
///
/// # Errors
/// If there is no room for a value.
pub(crate) fn captured<T>(
    lua: &Lua,
    function: &Function,
    mut each: impl FnMut(&CStr, LuaValue) -> T,
) -> mlua::Result<Vec<T>> {
    lua.exec_raw_lua(|raw| {
        let state = raw.state();
        let mut all = Vec::new();
        // SAFETY: see the top; each value is popped before the next one comes, and the function after the last. The name
        // is a string of the function's code or a constant.
        unsafe {
            room(state)?;
            raw.push(function)?;
            for index in 1..=c_int::from(u8::MAX) {
                let name = ffi::lua_getupvalue(state, -1, index);
                if name.is_null() {
                    break;
                }
                let value = raw.pop::<LuaValue>();
                match value {
                    Ok(value) => all.push(each(CStr::from_ptr(name), value)),
                    Err(error) => {
                        ffi::lua_pop(state, 2);
                        return Err(error);
                    }
                }
            }
            ffi::lua_pop(state, 1);
        }
        Ok(all)
    })
}

/// Sets a captured variable of a function, counted from 1.
///
/// # Errors
/// If there is no room for the value.
pub(crate) fn set_captured(
    lua: &Lua,
    function: &Function,
    index: usize,
    value: LuaValue,
) -> mlua::Result<()> {
    let index = c_int::try_from(index).map_err(Error::external)?;
    lua.exec_raw_lua(|raw| {
        let state = raw.state();
        // SAFETY: see the top. A variable that is not there leaves the value on the stack.
        unsafe {
            room(state)?;
            raw.push(function)?;
            let pushed = raw.push(value);
            if pushed.is_ok() && ffi::lua_setupvalue(state, -2, index).is_null() {
                ffi::lua_pop(state, 1);
            }
            ffi::lua_pop(state, 1);
            pushed
        }
    })
}

/// Reads something with a value on top of the stack.
fn with<R>(
    lua: &Lua,
    value: impl IntoLua,
    read: impl FnOnce(*mut ffi::lua_State) -> R,
) -> Option<R> {
    lua.exec_raw_lua(|raw| {
        let state = raw.state();
        // SAFETY: what is pushed is popped.
        unsafe {
            room(state).ok()?;
            raw.push(value).ok()?;
            let read = read(state);
            ffi::lua_pop(state, 1);
            Some(read)
        }
    })
}

/// Sees to room on the stack for what a function here pushes.
///
/// # Safety
/// The state is that of the code that runs.
unsafe fn room(state: *mut ffi::lua_State) -> mlua::Result<()> {
    const VALUES: c_int = 4;
    // SAFETY: as required; it reports that there is no memory, and raises nothing.
    if unsafe { ffi::lua_checkstack(state, VALUES) } == 0 {
        return Err(Error::runtime("stack overflow"));
    }
    Ok(())
}
