use mlua::{Error, Function, Lua, LuaString, MultiValue, Table, Value as LuaValue};
use stage_value::HandlerId;

use super::bad_argument;
use super::shared::refuse_within_update;
use crate::generation::Generation;
use crate::handlers::Handlers;
use crate::run::Run;
use crate::vm::{Handler, Local};

/// The most handlers of one VM.
const HANDLERS: usize = 100_000;

/// `stage.waitfor(id, fn, bound...)`, `stage.waitfor(fn, bound...) -> id`, `stage.waitfor(id, nil)`.
pub(super) fn install(lua: &Lua, stage: &Table) -> mlua::Result<()> {
    stage.raw_set("waitfor", lua.create_function(waitfor)?)
}

fn waitfor(lua: &Lua, mut args: MultiValue) -> mlua::Result<LuaString> {
    let local = Local::of(lua)?;
    refuse_within_update(&local)?;
    if local.home.is_none() {
        return Err(Error::runtime(
            "stage.waitfor works in a stage's script; a function that was sent ends with its run",
        ));
    }
    match args.pop_front() {
        Some(LuaValue::Function(function)) => {
            let id = temporary_id(&local)?;
            register(&local, &id, function, args)?;
            lua.create_string(id.to_string())
        }
        Some(LuaValue::String(text)) => {
            let id: HandlerId = text.to_str()?.parse().map_err(Error::external)?;
            match args.pop_front().unwrap_or(LuaValue::Nil) {
                LuaValue::Function(function) => register(&local, &id, function, args)?,
                LuaValue::Nil => {
                    change(&local, |handlers| handlers.remove(&id));
                }
                other => return Err(bad_argument(2, "waitfor", "function or nil", &other)),
            }
            Ok(text)
        }
        other => {
            let other = other.unwrap_or(LuaValue::Nil);
            Err(bad_argument(1, "waitfor", "id or function", &other))
        }
    }
}

fn register(
    local: &Local,
    id: &HandlerId,
    function: Function,
    bound: MultiValue,
) -> mlua::Result<()> {
    let of_script = Run::current().is_some_and(|run| run.script.is_some());
    let handler = Handler { function, bound: bound.into_iter().collect(), of_script };
    change(local, |handlers| {
        if handlers.len() >= HANDLERS {
            let message =
                format!("more than {HANDLERS} handlers; remove some by stage.waitfor(id, nil)");
            return Err(Error::runtime(message));
        }
        handlers.insert(id, handler);
        Ok(())
    })
}

/// Changes the handlers: those of the VM, or those that a script puts aside until it is known to start.
fn change<R>(local: &Local, action: impl FnOnce(&mut Handlers<Handler>) -> R) -> R {
    let run = Run::current();
    match run.as_ref().and_then(|run| run.script.as_ref()).and_then(Generation::aside) {
        Some(mut aside) => action(&mut aside),
        None => action(&mut local.handlers.borrow_mut()),
    }
}

/// An id that no script has used; addresses may name it as reply or failure handler.
pub(super) fn temporary_id(local: &Local) -> mlua::Result<HandlerId> {
    let number = local.temporary_ids.get() + 1;
    local.temporary_ids.set(number);
    format!("$temporary-{number}").parse().map_err(Error::external)
}
