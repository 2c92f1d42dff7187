//! One run of a handler: what it knows of its message, and its execution to the end.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use mlua::{Function, Lua, MultiValue, Value as LuaValue};
use stage_signal::{Failure, Origin, Reason};
use stage_snapshot::Snapshot;
use stage_ticket::Ticket;
use stage_value::Value;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::convert::Packer;
use crate::error::ScriptFailure;
use crate::home::Home;
use crate::vm::Local;

tokio::task_local! {
    static CURRENT: Rc<Run>;
}

/// How a call ends for whoever waits for it.
pub(crate) type Outcome = Result<Vec<Value>, Failure>;

/// What a running handler knows of itself.
pub(crate) struct Run {
    /// What to call it in logs: the message, or what started it.
    pub(crate) name: Arc<str>,
    /// The stage that signals without a target go to, and where its replies run.
    pub(crate) home: Home,
    /// Whether it is a stage's script itself and no handler.
    pub(crate) is_script: bool,
    /// Who sent the message, if it was one.
    pub(crate) origin: Option<Origin>,
    /// The permit that the handler holds.
    pub(crate) ticket: Option<Rc<Ticket>>,
    /// Who gets the results.
    pub(crate) answer: RefCell<Answer>,
    /// The version of the shared variables that it sees, from its first touch of one.
    pub(crate) pinned: RefCell<Option<Pinned>>,
    /// How long it has kept its VM busy.
    pub(crate) busy: Cell<Duration>,
}

/// Who gets the results of a run.
pub(crate) enum Answer {
    /// Nobody.
    Nobody,
    /// The sender of a signal, or the submitter of a call.
    Caller(oneshot::Sender<Outcome>),
    /// The handler has replied before its end.
    Given,
}

/// A version of the shared variables, with what the handler itself has written since.
pub(crate) struct Pinned {
    pub(crate) snapshot: Snapshot<Value>,
    pub(crate) own: HashMap<Arc<str>, LuaValue>,
}

impl Run {
    /// A run that nobody waits for.
    pub(crate) fn new(name: Arc<str>, home: Home) -> Self {
        Self {
            name,
            home,
            is_script: false,
            origin: None,
            ticket: None,
            answer: RefCell::new(Answer::Nobody),
            pinned: RefCell::default(),
            busy: Cell::default(),
        }
    }

    /// The run whose code executes now; `None` outside of any.
    pub(crate) fn current() -> Option<Rc<Self>> {
        CURRENT.try_with(Rc::clone).ok()
    }

    /// Gives the outcome to whoever waits, if it was not given before.
    pub(crate) fn answer(&self, outcome: Outcome) -> bool {
        match self.answer.replace(Answer::Given) {
            Answer::Nobody => {
                *self.answer.borrow_mut() = Answer::Nobody;
                false
            }
            Answer::Given => false,
            // A caller that has gone away wants no outcome.
            Answer::Caller(caller) => {
                drop(caller.send(outcome));
                true
            }
        }
    }
}

impl Run {
    /// Runs a stage's script as this run; a script may wait for as long as it likes.
    ///
    /// # Errors
    /// What the script raised.
    pub(crate) async fn unlimited(self: &Rc<Self>, main: Function) -> Result<(), ScriptFailure> {
        let call = Box::pin(main.call_async::<()>(()));
        let metered = Metered { call, run: Rc::clone(self) };
        CURRENT.scope(Rc::clone(self), metered).await.map_err(|error| ScriptFailure::from(&error))
    }
}

/// Runs a function of the VM as the given run, within its time limit.
///
/// # Errors
/// What the script raised, or that it ran for too long.
pub(crate) async fn execute(
    local: &Local,
    run: Rc<Run>,
    function: Function,
    args: MultiValue,
) -> Result<MultiValue, ScriptFailure> {
    let limit = local.options.handler_time;
    let call = Box::pin(function.call_async::<MultiValue>(args));
    let metered = Metered { call, run: Rc::clone(&run) };
    match tokio::time::timeout(limit, CURRENT.scope(run, metered)).await {
        Ok(result) => result.map_err(|error| ScriptFailure::from(&error)),
        Err(_) => Err(ScriptFailure::new(format!(
            "stopped after {} ms, the limit for one handler (#limits.handler_ms)",
            limit.as_millis()
        ))),
    }
}

/// Logs and counts what a script raised, and makes the failure for whoever waits.
pub(crate) fn log_failure(local: &Local, run: &Run, failure: &ScriptFailure) -> Failure {
    local.services.counters.script_error();
    tracing::error!(stage = %run.home.stage, handler = %run.name, "{failure}");
    Failure::new(Reason::Handler, format!("handler '{}': {}", run.name, failure.message))
}

/// Results that leave the VM, or why they cannot.
pub(crate) fn pack_results(lua: &Lua, local: &Local, name: &str, results: MultiValue) -> Outcome {
    Packer::new(lua, local, local.options.values).pack("results", results).map_err(|error| {
        local.services.counters.script_error();
        tracing::error!(handler = name, "{error}");
        Failure::new(Reason::Handler, format!("handler '{name}': {error}"))
    })
}

/// A call that adds the time spent in polling it, waits excluded, to its run.
struct Metered<F> {
    call: Pin<Box<F>>,
    run: Rc<Run>,
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let start = Instant::now();
        let polled = self.call.as_mut().poll(context);
        self.run.busy.set(self.run.busy.get() + start.elapsed());
        polled
    }
}
