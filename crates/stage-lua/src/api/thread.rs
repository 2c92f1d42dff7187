//! Functions that run on a worker and tell the handler that started them how far they are.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use mlua::{Error, Lua, MultiValue, Table, Value as LuaValue};
use stage_signal::{Failure, Reason};
use stage_value::Value;

use super::shared::refuse_within_update;
use super::{bad_argument, run_handler};
use crate::caller::Outcome;
use crate::convert::Packer;
use crate::home::Mail;
use crate::run::Run;
use crate::vm::{Handler, Local};
use crate::worker::Call;

/// The threads that a VM has started and whose end it has not seen, with who hears of each.
pub(crate) type Threads = HashMap<Arc<str>, Option<Handler>>;

/// `thread.new(fn, ...)`, and `thread.signal(...)` and `thread.id` within such a function.
pub(super) fn install(lua: &Lua, globals: &Table) -> mlua::Result<()> {
    let thread = lua.create_table()?;
    thread.raw_set("new", lua.create_function(new)?)?;
    thread.raw_set("signal", lua.create_function(signal)?)?;
    let metatable = lua.create_table()?;
    metatable.raw_set(
        "__index",
        lua.create_function(|lua, (_, key): (Table, LuaValue)| {
            let is_id = matches!(&key, LuaValue::String(key) if *key.as_bytes() == *b"id");
            let thread = Run::current().filter(|_| is_id).and_then(|run| run.thread.clone());
            thread.map(|id| lua.create_string(&*id)).transpose()
        })?,
    )?;
    thread.set_metatable(Some(metatable))?;
    globals.raw_set("thread", thread)
}

/// Starts a function on a worker; returns its handle with `id` and `waitfor`.
fn new(lua: &Lua, mut args: MultiValue) -> mlua::Result<Table> {
    let local = Local::of(lua)?;
    refuse_within_update(&local)?;
    let function = args.pop_front().unwrap_or(LuaValue::Nil);
    if !function.is_function() {
        return Err(bad_argument(1, "new", "function", &function));
    }
    if local.pending.get() >= local.options.pending {
        return Err(Error::runtime("too many tasks and replies are waited for in this VM"));
    }
    let home = local.home_of_caller()?;
    let packer = || Packer::new(lua, &local, local.options.values);
    let function = packer().pack_one("fn", function).map_err(Error::external)?;
    let Value::Function(function) = function else {
        return Err(Error::runtime("what was given to thread.new is no function"));
    };
    let args = packer().pack("args", args).map_err(Error::external)?;
    let id: Arc<str> = format!("thread-{}", local.services.next_number()).into();
    local.threads.borrow_mut().insert(Arc::clone(&id), None);
    let thread = Some(Arc::clone(&id));
    let call = Call {
        name: Arc::clone(&id),
        function,
        args,
        home,
        takes_reply: false,
        thread,
        for_peer: false,
        trace: Run::current().and_then(|run| run.trace),
    };
    let outcome = local.services.workers.run(call);
    let (waiting, ended, known) = (local.wait(), Rc::clone(&local), Arc::clone(&id));
    tokio::task::spawn_local(async move {
        end(&ended, &known, outcome.await);
        drop(waiting);
    });
    handle(lua, id)
}

fn handle(lua: &Lua, id: Arc<str>) -> mlua::Result<Table> {
    let handle = lua.create_table()?;
    handle.raw_set("id", &*id)?;
    handle.raw_set(
        "waitfor",
        lua.create_function(move |lua, mut args: MultiValue| {
            // Both `thread.waitfor(fn)` and `thread:waitfor(fn)`.
            if matches!(args.front(), Some(LuaValue::Table(_))) {
                args.pop_front();
            }
            match args.pop_front() {
                Some(LuaValue::Function(function)) => {
                    let bound = args.into_iter().collect();
                    listen(&*Local::of(lua)?, &id, Handler { function, bound, of_script: false })
                }
                other => {
                    let other = other.unwrap_or(LuaValue::Nil);
                    Err(bad_argument(1, "waitfor", "function", &other))
                }
            }
        })?,
    )?;
    Ok(handle)
}

/// Registers who hears of a thread; one that has ended has nothing more to say.
fn listen(local: &Local, id: &str, handler: Handler) -> mlua::Result<()> {
    if local.home.is_none() {
        return Err(Error::runtime(
            "waitfor works in a stage's script; a function that was sent ends with its run",
        ));
    }
    if let Some(listener) = local.threads.borrow_mut().get_mut(id) {
        *listener = Some(handler);
    }
    Ok(())
}

/// `thread.signal(...)`: within a thread, to whoever waits for it.
fn signal(lua: &Lua, args: MultiValue) -> mlua::Result<()> {
    let local = Local::of(lua)?;
    refuse_within_update(&local)?;
    let run = Run::current().filter(|run| run.thread.is_some());
    let Some((run, id)) = run.and_then(|run| run.thread.clone().map(|id| (run, id))) else {
        return Err(Error::runtime("thread.signal works in a function given to thread.new"));
    };
    let packer = Packer::new(lua, &local, local.options.values);
    let args = packer.pack("args", args).map_err(Error::external)?;
    if !run.home.mailbox.post(Mail::Thread(Arc::clone(&id), Some(args))) {
        unheard(&local, &id, &Failure::new(Reason::Overloaded, "the stage's mailbox is full"));
    }
    Ok(())
}

/// Tells whoever waits for a thread what it returned, behind all that it signalled before.
fn end(local: &Rc<Local>, id: &Arc<str>, outcome: Outcome) {
    let Some(home) = &local.home else {
        local.threads.borrow_mut().remove(id);
        return;
    };
    match outcome {
        Ok(results) if results.is_empty() => {}
        Ok(results) => {
            if !home.mailbox.post(Mail::Thread(Arc::clone(id), Some(results))) {
                let full = Failure::new(Reason::Overloaded, "the stage's mailbox is full");
                unheard(local, id, &full);
            }
        }
        // The worker has logged what the script raised.
        Err(failure) if matches!(failure.reason, Reason::Handler | Reason::Stopping) => {}
        Err(failure) => unheard(local, id, &failure),
    }
    if !home.mailbox.post(Mail::Thread(Arc::clone(id), None)) {
        local.threads.borrow_mut().remove(id);
    }
}

/// Runs whoever waits for a thread; without arguments the thread has ended.
pub(crate) async fn hear(lua: Lua, local: Rc<Local>, id: Arc<str>, args: Option<Vec<Value>>) {
    let Some(args) = args else {
        local.threads.borrow_mut().remove(&id);
        return;
    };
    let handler = local.threads.borrow().get(&id).cloned().flatten();
    if let Some(handler) = handler {
        run_handler(&lua, &local, id, &handler, args).await;
    }
}

fn unheard(local: &Local, id: &str, failure: &Failure) {
    local.services.counters.unheard_failure();
    if let Some(left_out) = local.complaints.admit() {
        tracing::warn!(thread = id, left_out, "{failure}");
    }
}
