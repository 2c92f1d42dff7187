//! The VMs that run submitted and shipped functions, in parallel across cores.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mlua::{Lua, MultiValue, Value as LuaValue};
use stage_route::Meter;
use stage_signal::{Failure, Reason, Trace};
use stage_value::{Function, Value};
use tokio::time::Instant;

use crate::caller::{Caller, Outcome};
use crate::convert::Unpacker;
use crate::error::ScriptFailure;
use crate::home::Home;
use crate::run::{Answer, Run, execute, log_failure};
use crate::services::{Options, Services};
use crate::vm::Local;
use crate::vm_thread::{self, VmThread};
use crate::{StartError, turn};

mod queue;

use queue::{Queue, Refused};

/// A function to run on some worker.
#[derive(Clone)]
pub(crate) struct Call {
    /// What to call it in logs.
    pub(crate) name: Arc<str>,
    pub(crate) function: Function,
    pub(crate) args: Vec<Value>,
    pub(crate) home: Home,
    /// Whether its caller is a sender that may be replied to before the end.
    pub(crate) takes_reply: bool,
    /// The id of the thread that it is, if it is one.
    pub(crate) thread: Option<Arc<str>>,
    /// Another node sent it: it is not started if it has waited for too long.
    pub(crate) for_peer: bool,
    /// The step of a trace that calls it, if somebody traces.
    pub(crate) trace: Option<Trace>,
}

/// A call on its way to a worker.
struct Job {
    call: Call,
    arrival: stage_route::Arrival,
    /// When it was sent, if somebody traces it.
    sent: Option<Instant>,
    caller: Caller,
}

/// The workers as their callers see them.
pub(crate) struct Workers {
    queue: Queue<Box<Job>>,
    /// How many there are.
    count: usize,
    /// Calls that run or sleep.
    running: AtomicUsize,
    meter: Meter,
}

impl Workers {
    /// Workers that do not run yet.
    pub(crate) fn new(options: &Options, meter: Meter) -> Self {
        let count = options.workers.max(1);
        let capacity = options.mailbox.max(1).saturating_mul(count);
        Self { queue: Queue::new(capacity, count), count, running: AtomicUsize::new(0), meter }
    }

    /// Runs a function on some worker; queued before this returns.
    pub(crate) fn run(&self, call: Call) -> impl Future<Output = Outcome> + Send + use<> {
        let (caller, outcome) = Caller::waiting();
        self.start(call, caller);
        async { outcome.await.unwrap_or_else(|_| Err(stopping())) }
    }

    /// Has a worker run a function, and answer whoever waits for it.
    pub(crate) fn start(&self, call: Call, caller: Caller) {
        let sent = call.trace.map(|_| Instant::now());
        let job = Job { call, arrival: self.meter.arrived(), sent, caller };
        let (job, failure) = match self.queue.push(Box::new(job)) {
            Ok(()) => return,
            Err(Refused::Closed(job)) => (job, stopping()),
            Err(Refused::Full(job)) => {
                (job, Failure::new(Reason::Overloaded, "the workers' queue is full"))
            }
        };
        self.meter.dropped(job.arrival);
        job.caller.answer(Err(failure));
    }

    /// Calls that wait and calls that run.
    pub(crate) fn load(&self) -> (usize, usize) {
        (self.queue.waiting(), self.running.load(Ordering::Relaxed))
    }

    /// Asks every worker to stop when it has done what waits.
    pub(crate) fn stop(&self) {
        self.queue.close();
    }
}

/// A call that runs or sleeps.
struct Running(Rc<Local>);

impl Running {
    /// Counts one more; `None` if there are too many.
    fn enter(local: &Rc<Local>) -> Option<Self> {
        let workers = &local.services.workers;
        let most = local.options.handlers.saturating_mul(workers.count);
        let running = Self(Rc::clone(local));
        (workers.running.fetch_add(1, Ordering::Relaxed) < most).then_some(running)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.services.workers.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Starts the threads of the workers.
///
/// # Errors
/// [`StartError::Thread`] if the operating system gives none.
pub(crate) fn start(
    services: &Arc<Services>,
    options: &Arc<Options>,
) -> Result<Vec<VmThread>, StartError> {
    let start = |index| {
        let (services, options) = (Arc::clone(services), Arc::clone(options));
        let testing = options.testing.is_some();
        vm_thread::spawn(&format!("worker-{index}"), testing, move || async move {
            let workers = Arc::clone(&services);
            match Local::open(services, options, None) {
                Ok((lua, local)) => serve(&lua, &local).await,
                Err(error) => tracing::error!(%error, "a worker has no VM"),
            }
            workers.workers.queue.leave();
        })
    };
    (0..services.workers.count).map(start).collect()
}

async fn serve(lua: &Lua, local: &Rc<Local>) {
    let mut turn = turn::Turn::default();
    loop {
        let jobs = local.services.workers.queue.take().await;
        if jobs.is_empty() {
            return;
        }
        for job in jobs {
            let Some(running) = Running::enter(local) else {
                let failure =
                    Failure::new(Reason::Overloaded, "too many functions run on the workers");
                local.services.workers.meter.dropped(job.arrival);
                job.caller.answer(Err(failure));
                continue;
            };
            let (lua, local) = (lua.clone(), Rc::clone(local));
            turn.start(async move {
                work(&lua, &local, *job).await;
                drop(running);
            })
            .await;
        }
    }
}

/// Runs one call and answers it.
async fn work(lua: &Lua, local: &Rc<Local>, job: Job) {
    let Job { call, arrival, sent, caller } = job;
    let waited = sent.map_or(Duration::ZERO, |sent| sent.elapsed());
    let meter = &local.services.workers.meter;
    if caller.is_gone() {
        meter.dropped(arrival);
        return;
    }
    if call.for_peer {
        if let Err(late) = meter.started_for_peer(arrival) {
            let failure = Failure::new(Reason::Refused, late.to_string());
            return caller.answer(Err(failure));
        }
    } else {
        meter.started(arrival);
    }
    let mut caller = Some(caller);
    let answer = match caller.take_if(|_| call.takes_reply) {
        Some(sender) => Answer::Caller(sender),
        None => Answer::Nobody,
    };
    let run = Rc::new(Run {
        answer: RefCell::new(answer),
        thread: call.thread,
        trace: call.trace.map(|caller| caller.child()),
        ..Run::new(Arc::clone(&call.name), call.home)
    });
    let ended = tokio::select! {
        biased;
        ended = sandboxed(lua, local, &run, call.function, call.args) => Some(ended),
        () = deserted(&run, &mut caller) => None,
    };
    let outcome = ended.map(|ended| match ended {
        Ok(results) => run.pack(lua, local, results),
        Err(failure) => Err(log_failure(local, &run, &failure)),
    });
    run.trace_end(call.trace, waited);
    meter.finished(run.busy.get());
    local.services.counters.handled(run.busy.get());
    let Some(outcome) = outcome else { return };
    match caller {
        Some(caller) => caller.answer(outcome),
        None => run.end(outcome),
    }
}

/// Waits until nobody waits for what a call comes to.
async fn deserted(run: &Run, caller: &mut Option<Caller>) {
    match caller {
        Some(caller) => poll_fn(|context| caller.poll_gone(context)).await,
        None => run.deserted().await,
    }
}

fn stopping() -> Failure {
    Failure::new(Reason::Stopping, "the workers are stopping")
}

async fn sandboxed(
    lua: &Lua,
    local: &Rc<Local>,
    run: &Rc<Run>,
    function: Function,
    args: Vec<Value>,
) -> Result<MultiValue, ScriptFailure> {
    let (function, args) = run
        .take_in(args, |args| rebuild(lua, local, function, args))
        .map_err(|error| ScriptFailure::from(&error))?;
    execute(local, Rc::clone(run), function, args).await
}

fn rebuild(
    lua: &Lua,
    local: &Rc<Local>,
    function: Function,
    args: Vec<Value>,
) -> mlua::Result<(mlua::Function, MultiValue)> {
    let mut unpacker = Unpacker::new(lua, local);
    match unpacker.unpack(Value::Function(function))? {
        LuaValue::Function(function) => Ok((function, unpacker.unpack_all(args)?)),
        _ => Err(mlua::Error::runtime("what was sent is no function")),
    }
}
