use std::rc::Rc;
use std::time::Duration;

use mlua::{Error, Function, Lua, MultiValue, Table, UserData, UserDataMethods, Value as LuaValue};
use tokio::sync::oneshot;

use super::shared::refuse_within_update;
use super::{bad_argument, duration_of, number};
use crate::generation::{self, End, Generation};
use crate::run::{Run, execute, log_failure};
use crate::vm::Local;

/// `stage.addtask(ms, fn, ...) -> task`: runs a function later, and again while it returns a
/// number above 0.
pub(super) fn install(lua: &Lua, stage: &Table) -> mlua::Result<()> {
    stage.raw_set("addtask", lua.create_function(addtask)?)
}

/// A timer; `task:cancel()` stops it.
struct Task {
    cancel: Option<oneshot::Sender<()>>,
}

impl UserData for Task {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method_mut("cancel", |_, task, ()| {
            Ok(task.cancel.take().is_some_and(|cancel| cancel.send(()).is_ok()))
        });
    }
}

fn addtask(lua: &Lua, mut args: MultiValue) -> mlua::Result<Task> {
    let local = Local::of(lua)?;
    refuse_within_update(&local)?;
    let delay = args.pop_front().unwrap_or(LuaValue::Nil);
    let delay = match number(&delay) {
        Some(millis) if millis >= 0.0 => duration_of(millis / 1000.0),
        _ => return Err(bad_argument(1, "addtask", "milliseconds of 0 or more", &delay)),
    };
    let function = match args.pop_front() {
        Some(LuaValue::Function(function)) => function,
        other => {
            let other = other.unwrap_or(LuaValue::Nil);
            return Err(bad_argument(2, "addtask", "function", &other));
        }
    };
    if local.pending.get() >= local.options.pending {
        return Err(Error::runtime("too many tasks and replies are waited for in this VM"));
    }
    let run = Rc::new(Run::new("task".into(), local.home_of_caller()?));
    let end = Run::current().and_then(|run| run.script.as_ref().map(Generation::end));
    let (cancel, cancelled) = oneshot::channel();
    let waiting = local.wait();
    tokio::task::spawn_local(async move {
        tokio::select! {
            () = repeat(&local, run, end, delay, function, args) => {}
            // A task whose handle is gone goes on: only `cancel` stops it.
            Ok(()) = cancelled => {}
        }
        drop(waiting);
    });
    Ok(Task { cancel: Some(cancel) })
}

async fn repeat(
    local: &Rc<Local>,
    first: Rc<Run>,
    end: Option<End>,
    mut delay: Duration,
    function: Function,
    args: MultiValue,
) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            // What the script begins when it is begun anew takes the place of this.
            () = generation::end_of(end.clone()) => return,
        }
        let run = Rc::new(Run::new(first.name.clone(), first.home.clone()));
        let running = local.home.as_ref().map(|home| home.mailbox.enter());
        let result = execute(local, Rc::clone(&run), function.clone(), args.clone()).await;
        drop(running);
        local.services.counters.handled(run.busy.get());
        match result {
            Ok(results) => match again(results.front()) {
                Some(after) => delay = after,
                None => return,
            },
            Err(failure) => {
                log_failure(local, &run, &failure);
                return;
            }
        }
    }
}

fn again(result: Option<&LuaValue>) -> Option<Duration> {
    let millis = number(result?)?;
    (millis > 0.0).then(|| duration_of(millis / 1000.0))
}
