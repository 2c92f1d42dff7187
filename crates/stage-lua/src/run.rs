//! One run of a handler: what it knows of its message, and its execution to the end.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use mlua::{Function, Lua, MultiValue, Value as LuaValue};
use stage_signal::{Failure, Origin, Reason, Trace};
use stage_snapshot::Snapshot;
use stage_ticket::AnyTicket;
use stage_value::{HandlerId, Value};
use tokio::sync::Notify;

use crate::caller::{Caller, Outcome};
use crate::convert::Packer;
use crate::error::ScriptFailure;
use crate::generation::Generation;
use crate::home::Home;
use crate::memory::Memory;
use crate::preempt::{Bounds, Entry, Slice, Sliced};
use crate::vm::Local;

/// A text of fewer bytes is soon converted.
const SHORT: usize = 1024;

tokio::task_local! {
    static CURRENT: Rc<Run>;
}

/// What a running handler knows of itself.
pub(crate) struct Run {
    /// What to call it in logs: the message, or what started it.
    pub(crate) name: Arc<str>,
    /// The stage that signals without a target go to, and where its replies run.
    pub(crate) home: Home,
    /// Set if it is a stage's script itself, or a module of it, and no handler.
    pub(crate) script: Option<Generation>,
    /// Who sent the message, if it was one.
    pub(crate) origin: Option<Origin>,
    /// Its own step of a trace, if somebody traces what led to it.
    pub(crate) trace: Option<Trace>,
    /// The id of the thread that it is, if `thread.new` started it.
    pub(crate) thread: Option<Arc<str>>,
    /// The permit that the handler holds.
    pub(crate) ticket: Option<Rc<AnyTicket>>,
    /// Who gets the results.
    pub(crate) answer: RefCell<Answer>,
    /// Whether they are wanted, and not only how it ended.
    pub(crate) wants_results: bool,
    /// The version of the shared variables that it sees, from its first touch of one.
    pub(crate) pinned: RefCell<Option<Pinned>>,
    /// How long it has kept its VM busy.
    pub(crate) busy: Cell<Duration>,
    /// Whether it was preempted and has not gone on yet.
    pub(crate) paused: Cell<bool>,
    /// The transactions, results and responses that it has not brought to an end.
    #[cfg(any(feature = "db", feature = "http"))]
    pub(crate) unfinished: crate::api::unfinished::Unfinished,
}

/// Who gets the results of a run.
pub(crate) enum Answer {
    /// Nobody.
    Nobody,
    /// The sender of a signal, or the submitter of a call.
    Caller(Caller),
    /// The handler has replied before its end.
    Given,
    /// Whoever signals the reply's own address.
    Later(Later),
}

/// A reply that may come after the handler's end.
#[derive(Clone)]
pub(crate) struct Later {
    /// The handler that takes it.
    pub(crate) id: HandlerId,
    caller: Rc<RefCell<Option<Caller>>>,
    answered: Rc<Notify>,
}

impl Later {
    fn new(id: HandlerId, caller: Caller) -> Self {
        Self { id, caller: Rc::new(RefCell::new(Some(caller))), answered: Rc::default() }
    }

    /// Gives the outcome to whoever waits, if it was not given before.
    pub(crate) fn answer(&self, outcome: Outcome) -> bool {
        let caller = self.caller.borrow_mut().take();
        self.answered.notify_one();
        caller.map(|caller| caller.answer(outcome)).is_some()
    }

    /// Waits until it was given, or nobody waits for it any more.
    pub(crate) async fn over(&self) {
        let gone = poll_fn(|context| match &mut *self.caller.borrow_mut() {
            Some(caller) => caller.poll_gone(context),
            None => Poll::Ready(()),
        });
        tokio::select! {
            () = self.answered.notified() => {}
            () = gone => drop(self.caller.borrow_mut().take()),
        }
    }
}

/// A version of the shared variables.
pub(crate) struct Pinned {
    pub(crate) snapshot: Snapshot<Value>,
    /// What the handler itself has written since, and views that it alone still has.
    pub(crate) own: HashMap<Arc<str>, LuaValue>,
}

impl Run {
    /// A run that nobody waits for.
    pub(crate) fn new(name: Arc<str>, home: Home) -> Self {
        Self {
            name,
            home,
            script: None,
            origin: None,
            trace: None,
            thread: None,
            ticket: None,
            answer: RefCell::new(Answer::Nobody),
            wants_results: false,
            pinned: RefCell::default(),
            busy: Cell::default(),
            paused: Cell::new(false),
            #[cfg(any(feature = "db", feature = "http"))]
            unfinished: crate::api::unfinished::Unfinished::default(),
        }
    }

    /// The run whose code executes now; `None` outside of any.
    pub(crate) fn current() -> Option<Rc<Self>> {
        CURRENT.try_with(Rc::clone).ok()
    }

    /// Tells whoever traces how long it waited and how long it kept its VM busy.
    pub(crate) fn trace_end(&self, sender: Option<Trace>, waited: Duration) {
        let (Some(sender), Some(own)) = (sender, self.trace) else { return };
        if own.is_sampled() {
            let (trace, span, parent) = (own.id(), own.span(), sender.span());
            let busy = self.busy.get();
            let (name, stage) = (&self.name, &self.home.stage);
            tracing::debug!(target: "stage::trace", trace, span, parent, %name, %stage, ?waited, ?busy);
        }
    }

    /// Converts what the call is given, which keeps the VM busy as well.
    pub(crate) fn take_in<R>(&self, args: Vec<Value>, convert: impl FnOnce(Vec<Value>) -> R) -> R {
        let is_more = |arg: &Value| match arg {
            Value::List(_) | Value::Map(_) | Value::Function(_) => true,
            Value::Bytes(bytes) => bytes.len() > SHORT,
            _ => false,
        };
        self.convert(args.iter().any(is_more), || convert(args))
    }

    /// The same for what it has come to.
    pub(crate) fn pack(&self, lua: &Lua, local: &Local, results: MultiValue) -> Outcome {
        let is_more = |result: &LuaValue| match result {
            LuaValue::Table(_) | LuaValue::Function(_) => true,
            LuaValue::String(text) => text.as_bytes().len() > SHORT,
            _ => false,
        };
        let is_more = results.iter().any(is_more);
        self.convert(is_more, || pack_results(lua, local, &self.name, results))
    }

    /// A few short values take less time than two looks at the clock.
    fn convert<R>(&self, is_more: bool, convert: impl FnOnce() -> R) -> R {
        if !is_more {
            return convert();
        }
        let begin = Instant::now();
        let converted = convert();
        self.busy.set(self.busy.get() + begin.elapsed());
        converted
    }

    /// Lets the reply come later, by a handler of that id; `None` if nobody waits for one.
    pub(crate) fn reply_later(&self, id: HandlerId) -> Option<Later> {
        let mut answer = self.answer.borrow_mut();
        if !self.wants_results || !matches!(&*answer, Answer::Caller(_)) {
            return None;
        }
        let Answer::Caller(caller) = std::mem::replace(&mut *answer, Answer::Given) else {
            return None;
        };
        let later = Later::new(id, caller);
        *answer = Answer::Later(later.clone());
        Some(later)
    }

    /// The reply that may come later, if the handler has asked for that.
    pub(crate) fn later(&self) -> Option<Later> {
        match &*self.answer.borrow() {
            Answer::Later(later) => Some(later.clone()),
            _ => None,
        }
    }

    /// What a handler comes to at its end is its reply, unless that comes later; a failure cannot wait.
    pub(crate) fn end(&self, outcome: Outcome) {
        if outcome.is_err() || self.later().is_none() {
            self.answer(outcome);
        }
    }

    /// Gives the outcome to whoever waits, if it was not given before.
    pub(crate) fn answer(&self, outcome: Outcome) -> bool {
        if let Some(later) = self.later() {
            return later.answer(outcome);
        }
        match self.answer.replace(Answer::Given) {
            Answer::Nobody => {
                *self.answer.borrow_mut() = Answer::Nobody;
                false
            }
            Answer::Given | Answer::Later(_) => false,
            Answer::Caller(caller) => {
                caller.answer(outcome);
                true
            }
        }
    }

    /// Waits until whoever waits for the results is gone; for ever if they were given, or if nobody ever has.
    pub(crate) async fn deserted(&self) {
        poll_fn(|context| match &mut *self.answer.borrow_mut() {
            Answer::Caller(caller) => caller.poll_gone(context),
            Answer::Later(later) => match &mut *later.caller.borrow_mut() {
                Some(caller) => caller.poll_gone(context),
                None => Poll::Pending,
            },
            Answer::Nobody | Answer::Given => Poll::Pending,
        })
        .await;
    }
}

impl Run {
    /// Runs a stage's script as this run; a script may wait for as long as it likes.
    ///
    /// # Errors
    /// What the script raised.
    pub(crate) async fn unlimited(
        self: &Rc<Self>,
        local: &Rc<Local>,
        main: Function,
    ) -> Result<(), ScriptFailure> {
        let metered = Metered::new(local, self, main, MultiValue::new());
        let ended = CURRENT.scope(Rc::clone(self), metered).await;
        ended.map(drop).map_err(|error| local.failure(&error))
    }
}

/// Runs a function of the VM as the given run, within its time limit.
///
/// # Errors
/// What the script raised, or that it ran for too long.
pub(crate) async fn execute(
    local: &Rc<Local>,
    run: Rc<Run>,
    function: Function,
    args: MultiValue,
) -> Result<MultiValue, ScriptFailure> {
    let limit = local.options.handler_time;
    let metered = Metered::new(local, &run, function, args);
    let mut call = pin!(CURRENT.scope(run, metered));
    // Most handlers end at once, and need no timer.
    let first = poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await;
    let ended = match first {
        Poll::Ready(result) => Ok(result),
        Poll::Pending => tokio::time::timeout(limit, call).await,
    };
    match ended {
        Ok(result) => result.map_err(|error| local.failure(&error)),
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

/// A call in slices: it adds the time spent in them, waits excluded, to its run.
struct Metered<F> {
    /// `None` once it has ended.
    call: Option<Pin<Box<F>>>,
    run: Rc<Run>,
    local: Rc<Local>,
    entry: Entry,
    slice: Slice,
    /// Lets others run, timers too, after it was preempted.
    rest: Option<Pin<Box<dyn Future<Output = ()>>>>,
    warned: bool,
    /// A script is not held to it, since what it sets up stays.
    memory: Memory,
}

impl Metered<()> {
    fn new(
        local: &Rc<Local>,
        run: &Rc<Run>,
        function: Function,
        args: MultiValue,
    ) -> Metered<impl Future<Output = mlua::Result<MultiValue>> + use<>> {
        Metered {
            call: Some(Box::pin(local.call(function, args))),
            run: Rc::clone(run),
            local: Rc::clone(local),
            entry: Entry::new(local.main_state),
            slice: Slice::default(),
            rest: None,
            warned: false,
            memory: Memory::new(local.options.handler_memory),
        }
    }
}

impl<F> Drop for Metered<F> {
    /// However it ended, nothing that it began goes on.
    fn drop(&mut self) {
        #[cfg(any(feature = "db", feature = "http"))]
        self.run.unfinished.give_up();
        if let Some(call) = self.call.take() {
            let quantum = self.local.options.quantum;
            self.entry.give_up(Bounds { quantum, busy: quantum }, || drop(call));
        }
    }
}

impl<F: Future<Output = mlua::Result<MultiValue>>> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let mut rested = false;
        if let Some(rest) = &mut this.rest {
            ready!(rest.as_mut().poll(context));
            this.rest = None;
            rested = true;
        }
        // Nobody polls what has ended.
        let Some(call) = &mut this.call else { return Poll::Pending };
        let call = call.as_mut();
        let bounds = this.local.bounds(this.run.script.is_some());
        let Sliced { result: polled, preempted, grown, took } =
            this.entry.slice(&mut this.slice, bounds, || call.poll(context));
        if polled.is_ready() {
            this.call = None;
        }
        this.run.paused.set(preempted.is_some() && polled.is_pending());
        this.run.busy.set(this.run.busy.get() + took);
        if polled.is_pending()
            && this.run.script.is_none()
            && this.memory.is_over(grown, &mut this.entry)
        {
            return Poll::Ready(Err(this.memory.error(preempted.as_deref())));
        }
        if let Some(place) = preempted.filter(|_| polled.is_pending()) {
            this.rest = Some(Box::pin(tokio::task::yield_now()));
            if !std::mem::replace(&mut this.warned, true) {
                warn_of_overrun(&this.local, &this.run, &place);
            }
        } else if rested && polled.is_pending() {
            // It may have been paused between asking whether a wait is over and giving its VM away for it. If that
            // wait has ended meanwhile, its call to wake was for the pause: nobody else would ask again.
            context.waker().wake_by_ref();
        }
        polled
    }
}

fn warn_of_overrun(local: &Local, run: &Run, place: &str) {
    local.services.counters.preempted();
    if let Some(left_out) = local.complaints.admit() {
        let limit = local.options.quantum.as_millis();
        tracing::warn!(
            stage = %run.home.stage, handler = %run.name, left_out,
            "{place}: it computes for longer than {limit} ms, so others run in between \
             (#limits.quantum_ms)"
        );
    }
}
