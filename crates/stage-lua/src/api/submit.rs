use std::sync::Arc;

use mlua::{Lua, MultiValue, Table, Value as LuaValue};
use stage_signal::Reason;
use stage_submit::{Handle, Key, Options, Repeat, SubmitError};
use stage_value::{Key as ScalarKey, Value};

use super::shared::refuse_within_update;
use super::{bad_argument, repeat_after};
use crate::convert::{Packer, scalar_key};
use crate::run::Run;
use crate::services::Services;
use crate::vm::Local;
use crate::worker::Call;

/// `stage.submit(key, fn, ...)`: one at a time per key within the process; key 0 has no limit.
pub(super) fn install(lua: &Lua, stage: &Table) -> mlua::Result<()> {
    stage.raw_set("submit", lua.create_function(submit)?)
}

/// Returns true, or nil and the reason if a queue is full.
fn submit(lua: &Lua, mut args: MultiValue) -> mlua::Result<(Option<bool>, Option<String>)> {
    let local = Local::of(lua)?;
    refuse_within_update(&local)?;
    let key = args.pop_front().unwrap_or(LuaValue::Nil);
    let key = match scalar_key(&key) {
        Ok(ScalarKey::Int(key)) => Key::from(key),
        Ok(ScalarKey::Bytes(key)) => Key::from(&key[..]),
        _ => return Err(bad_argument(1, "submit", "integer or string as key", &key)),
    };
    let function = args.pop_front().unwrap_or(LuaValue::Nil);
    if !function.is_function() {
        return Err(bad_argument(2, "submit", "function", &function));
    }
    let home = local.home_of_caller()?;
    let packer = || Packer::new(lua, &local, local.options.values);
    let function = packer().pack_one("fn", function).map_err(mlua::Error::external)?;
    let Value::Function(function) = function else { return Ok((None, None)) };
    let args = packer().pack("args", args).map_err(mlua::Error::external)?;
    let name = format!("submit({key})").into();
    let call = Call {
        name,
        function,
        args,
        home,
        takes_reply: false,
        thread: None,
        for_peer: false,
        trace: Run::current().and_then(|run| run.trace),
    };
    Ok(match enqueue(&local.services, key, call) {
        Ok(()) => (Some(true), None),
        Err(full) => (None, Some(full.to_string())),
    })
}

fn enqueue(services: &Arc<Services>, key: Key, call: Call) -> Result<(), SubmitError> {
    let shared = Arc::clone(services);
    let _entered = services.enter();
    let run = move || run(Arc::clone(&shared), call.clone());
    services.parts.submitter.submit_repeating(key, Options::new(), run).map(Handle::detach)
}

/// One run of a job. A number above 0 as result runs it again after so many milliseconds.
async fn run(services: Arc<Services>, call: Call) -> Repeat<()> {
    let name = Arc::clone(&call.name);
    match services.workers.run(call).await {
        Ok(results) => repeat_after(results.first()).map_or(Repeat::Done(()), Repeat::Again),
        Err(failure) => {
            // The worker has logged what a script raised, and the node that it cut work off when it
            // stopped; nobody else knows of the rest.
            if !matches!(failure.reason, Reason::Handler | Reason::Stopping) {
                services.counters.unheard_failure();
                tracing::error!(job = %name, "{failure}");
            }
            Repeat::Done(())
        }
    }
}
