//! `stage.signal` and `stage.ask`.

use std::rc::Rc;
use std::time::Duration;

use mlua::{Error, Lua, LuaString, MultiValue, Table, Value as LuaValue};
use stage_signal::{Destination, Failure, Outcomes, Outgoing, Reason};
use stage_value::{Address, MessageId, Scope, SignalAddress, Target, Value};

use super::shared::refuse_within_update;
use super::{bad_argument, broadcasts, number, own_table, run_handler, ticket};
use crate::convert::{Packer, Unpacker};
use crate::home::{Home, Mail};
use crate::run::Run;
use crate::vm::Local;

/// How much longer than the longest handler a sender waits, so that it hears of its end.
const GRACE: Duration = Duration::from_secs(1);

pub(super) fn install(lua: &Lua, stage: &Table) -> mlua::Result<()> {
    stage.raw_set("signal", lua.create_function(signal)?)?;
    stage.raw_set("ask", lua.create_async_function(ask)?)
}

/// `stage.signal(address, ...)`: sends and goes on; `stage.signal(nil, ...)` replies.
fn signal(lua: &Lua, mut args: MultiValue) -> mlua::Result<()> {
    let local = Local::of(lua)?;
    refuse_within_update(&local)?;
    let addressed = match args.pop_front().unwrap_or(LuaValue::Nil) {
        LuaValue::Nil => return reply(lua, &local, args),
        address => Addressed::read(lua, &local, &address, "signal", "address or nil")?,
    };
    let args = pack(lua, &local, args)?;
    match &local.home {
        Some(home) => send(lua, &local, home, &addressed, args),
        None => send_from_home(&local, &addressed, args)?,
    }
    Ok(())
}

/// Where a signal goes, and how.
#[derive(Clone)]
pub(crate) struct Addressed {
    address: Rc<Address>,
    /// It may run twice: it is sent once more if nobody can tell whether it has run.
    idempotent: bool,
}

impl Addressed {
    /// An address, or a table of one with options: `{ "shop:price", idempotent = true }`.
    fn read(
        lua: &Lua,
        local: &Local,
        value: &LuaValue,
        function: &str,
        expected: &str,
    ) -> mlua::Result<Self> {
        let parse = |text: &LuaString| local.address(&text.to_str()?).map_err(Error::external);
        let table = match value {
            LuaValue::String(text) => {
                return Ok(Self { address: parse(text)?, idempotent: false });
            }
            LuaValue::Table(table) => own_table(lua, local, table.clone())?,
            other => return Err(bad_argument(1, function, expected, other)),
        };
        let (mut text, mut idempotent) = (None, false);
        table.for_each(|key: LuaValue, value: LuaValue| {
            match (&key, value) {
                (LuaValue::Integer(1), LuaValue::String(address)) => text = Some(address),
                (LuaValue::String(key), LuaValue::Boolean(is)) if *key == "idempotent" => {
                    idempotent = is;
                }
                (key, _) => {
                    let key = key.to_string()?;
                    return Err(Error::runtime(format!(
                        "bad argument #1 to '{function}': a table of an address has the address and \
                         idempotent = true or false, and not '{key}'"
                    )));
                }
            }
            Ok(())
        })?;
        let Some(text) = text else { return Err(bad_argument(1, function, expected, value)) };
        let address = parse(&text)?;
        if idempotent && !matches!(*address, Address::Signal(_)) {
            return Err(Error::runtime(format!("{address} is no signal that could run twice")));
        }
        Ok(Self { address, idempotent })
    }

    /// The same for another thread.
    pub(crate) fn to_mail(&self, args: Vec<Value>) -> Mail {
        Mail::Signal(Address::clone(&self.address), self.idempotent, args)
    }

    pub(crate) fn of_mail(address: Address, idempotent: bool) -> Self {
        Self { address: Rc::new(address), idempotent }
    }
}

/// Replies to the sender of the running handler's message, or extends its ticket.
fn reply(lua: &Lua, local: &Rc<Local>, args: MultiValue) -> mlua::Result<()> {
    let run = Run::current().ok_or_else(|| Error::runtime("no handler runs here"))?;
    if let (Some(ticket), Some(millis)) = (&run.ticket, args.front().and_then(number)) {
        return ticket::extend(local, ticket, millis);
    }
    let args = pack(lua, local, args)?;
    if run.answer(Ok(args)) {
        return Ok(());
    }
    Err(Error::runtime("stage.signal(nil, ...) has nobody to reply to, or has replied before"))
}

/// A signal of a sandboxed function goes out from the instance that submitted it.
fn send_from_home(local: &Local, addressed: &Addressed, args: Vec<Value>) -> mlua::Result<()> {
    let home = local.home_of_caller()?;
    if !home.mailbox.post(addressed.to_mail(args)) {
        let failure = Failure::new(Reason::Overloaded, "the stage's mailbox is full");
        unheard(local, &addressed.address.to_string(), "", &failure);
    }
    Ok(())
}

/// Sends a signal from an instance and follows it to its end.
pub(crate) fn send(
    lua: &Lua,
    local: &Rc<Local>,
    home: &Home,
    addressed: &Addressed,
    args: Vec<Value>,
) {
    let address = &addressed.address;
    if local.pending.get() >= local.options.pending {
        let failure =
            Failure::new(Reason::Overloaded, "too many replies and tickets are waited for");
        return refuse(lua, local, address, failure);
    }
    let signal = match &**address {
        Address::Signal(signal) => signal,
        Address::Ticket { category, callback, feedback } => {
            return ticket::request(lua, local, home, category, callback, feedback.as_ref(), args);
        }
        Address::TicketCategory(category) => return ticket::alter(local, category, &args),
        Address::TicketBroadcast(category) => return broadcasts::send(local, category, args),
        _ => return,
    };
    let (wants_results, timeout) = (signal.reply.is_some(), local.options.handler_time + GRACE);
    let idempotent = addressed.idempotent;
    let outgoing = Outgoing { idempotent, ..outgoing(signal, home, args, wants_results, timeout) };
    let outcomes = dispatch(local, home, signal, outgoing);
    follow(lua, local, address, outcomes);
}

/// Ends a signal that was not sent.
fn refuse(lua: &Lua, local: &Rc<Local>, address: &Rc<Address>, failure: Failure) {
    match &**address {
        Address::Signal(_) => {
            let (lua, local, address) = (lua.clone(), Rc::clone(local), Rc::clone(address));
            tokio::task::spawn_local(async move {
                if let Address::Signal(signal) = &*address {
                    end(&lua, &local, signal, Err(failure)).await;
                }
            });
        }
        other => unheard(local, &other.to_string(), "", &failure),
    }
}

fn dispatch(local: &Local, home: &Home, signal: &SignalAddress, outgoing: Outgoing) -> Outcomes {
    let _entered = local.services.enter();
    let mesh = &local.services.parts.mesh;
    match (&signal.target, signal.scope) {
        (Target::Instance, None) => mesh.send_to(home, outgoing),
        _ => mesh.send(outgoing),
    }
}

/// Runs the reply or failure handler for each end of a signal.
fn follow(lua: &Lua, local: &Rc<Local>, address: &Rc<Address>, mut outcomes: Outcomes) {
    let waiting = local.wait();
    let (lua, local, address) = (lua.clone(), Rc::clone(local), Rc::clone(address));
    tokio::task::spawn_local(async move {
        let Address::Signal(signal) = &*address else { return };
        while let Some(outcome) = outcomes.next().await {
            // Apart, so that nothing is kept for it while it is waited for.
            Box::pin(end(&lua, &local, signal, outcome)).await;
        }
        drop(waiting);
    });
}

async fn end(
    lua: &Lua,
    local: &Rc<Local>,
    signal: &SignalAddress,
    outcome: Result<Vec<Value>, Failure>,
) {
    match (outcome, &signal.reply, &signal.failure) {
        (Ok(results), Some(reply), _) => hand_to(lua, local, reply, results).await,
        (Ok(_), None, _) => {}
        (Err(failure), _, Some(handler)) => {
            let reason = Value::from(failure.reason.as_str());
            let address = Value::from(signal.to_string());
            let detail = Value::from(failure.detail.as_str());
            hand_to(lua, local, handler, vec![reason, address, detail]).await;
        }
        (Err(failure), _, None) => unheard(local, &signal.to_string(), "!handler", &failure),
    }
}

/// Runs a handler of this instance by its id.
pub(super) async fn hand_to(lua: &Lua, local: &Rc<Local>, id: &MessageId, args: Vec<Value>) {
    let handler = local.handlers.borrow().of_message(id).cloned();
    match handler {
        Some(handler) => run_handler(lua, local, id.to_shared(), &handler, args).await,
        None => {
            local.services.counters.unheard_failure();
            let stage = local.home.as_ref().map_or("", |home| home.stage.as_str());
            tracing::warn!(stage, handler = %id, "a reply has no handler; register it by stage.waitfor");
        }
    }
}

/// Logs and counts a failure that no handler hears; `remedy` is what to add to the address.
pub(super) fn unheard(local: &Local, address: &str, remedy: &str, failure: &Failure) {
    local.services.counters.unheard_failure();
    let Some(left_out) = local.complaints.admit() else { return };
    let stage = local.home.as_ref().map_or("", |home| home.stage.as_str());
    let advice = match remedy {
        "" => String::new(),
        remedy => format!("; {remedy} at the end of the address hears of it"),
    };
    tracing::warn!(stage, address, left_out, "signal failed: {failure}{advice}");
}

/// `stage.ask(address, ...) -> results...`: sends and waits for the reply.
async fn ask(lua: Lua, mut args: MultiValue) -> mlua::Result<MultiValue> {
    let local = Local::of(&lua)?;
    let home = local.home_of_caller()?;
    let first = args.pop_front().unwrap_or(LuaValue::Nil);
    let Addressed { address, idempotent } =
        Addressed::read(&lua, &local, &first, "ask", "address")?;
    let Address::Signal(signal) = &*address else {
        return Err(Error::runtime(format!(
            "stage.ask cannot wait for {address}; use stage.signal"
        )));
    };
    if signal.reply.is_some() || signal.failure.is_some() {
        let message =
            format!("stage.ask returns the reply itself: drop '=' and '!' from {address}");
        return Err(Error::runtime(message));
    }
    let args = pack(&lua, &local, args)?;
    let outgoing = outgoing(signal, &home, args, true, local.options.ask_timeout);
    let outgoing = Outgoing { idempotent, ..outgoing };
    let mut outcomes = dispatch(&local, &home, signal, outgoing);
    let waiting = local.wait();
    let outcome = outcomes.next().await;
    drop(waiting);
    match outcome {
        Some(Ok(results)) => Unpacker::new(&lua, &local).unpack_all(results),
        Some(Err(failure)) => Err(Error::runtime(format!("{address}: {failure}"))),
        None => Err(Error::runtime(format!("{address}: no stage was addressed"))),
    }
}

fn outgoing(
    signal: &SignalAddress,
    home: &Home,
    args: Vec<Value>,
    wants_results: bool,
    timeout: Duration,
) -> Outgoing {
    let stage = match &signal.target {
        Target::Stage(stage) => stage.clone(),
        _ => home.stage.clone(),
    };
    let destination = match (signal.scope, &signal.target) {
        (None, Target::Stage(_)) => Destination::Stage(stage),
        (Some(Scope::Every), _) => Destination::Every(stage),
        (Some(Scope::Group), _) => Destination::Group(stage),
        (Some(Scope::Others), _) => Destination::Others(stage),
        _ => Destination::Local(stage),
    };
    Outgoing {
        destination,
        message: signal.message.clone(),
        args,
        origin_stage: home.stage.to_shared(),
        wants_results,
        idempotent: false,
        timeout: Some(timeout),
        trace: Run::current().and_then(|run| run.trace),
    }
}

fn pack(lua: &Lua, local: &Local, args: MultiValue) -> mlua::Result<Vec<Value>> {
    Packer::new(lua, local, local.options.values).pack("args", args).map_err(Error::external)
}
