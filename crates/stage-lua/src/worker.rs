//! The VMs that run submitted and shipped functions, in parallel across cores.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mlua::{Lua, MultiValue, Value as LuaValue};
use stage_route::Meter;
use stage_signal::{Failure, Reason, Trace};
use stage_value::{Function, Value};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::convert::Unpacker;
use crate::error::ScriptFailure;
use crate::home::Home;
use crate::mailbox::Mailbox;
use crate::run::{Answer, Outcome, Run, execute, log_failure, pack_results};
use crate::services::{Options, Services};
use crate::vm::Local;
use crate::vm_thread::{self, VmThread};
use crate::{StartError, turn};

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
    arrived: Instant,
    caller: oneshot::Sender<Outcome>,
}

enum WorkerMail {
    Job(Box<Job>),
    Stop,
}

/// The queues in front of the worker VMs.
pub(crate) struct Workers {
    mailboxes: Vec<Mailbox<WorkerMail>>,
    meter: Meter,
    turn: AtomicUsize,
}

/// The ends of the queues, to be given to threads.
pub(crate) struct Idle(Vec<mpsc::Receiver<WorkerMail>>);

impl Workers {
    /// So many workers, not yet running.
    pub(crate) fn new(options: &Options, meter: Meter) -> (Self, Idle) {
        let (mailboxes, receivers) =
            (0..options.workers.max(1)).map(|_| Mailbox::new(options.mailbox)).unzip();
        (Self { mailboxes, meter, turn: AtomicUsize::new(0) }, Idle(receivers))
    }

    /// Runs a function on the worker with the least to do; queued before this returns.
    pub(crate) fn run(&self, call: Call) -> impl Future<Output = Outcome> + Send + use<> {
        let queued = self.least_loaded().and_then(Mailbox::room).map(|room| {
            let (caller, outcome) = oneshot::channel();
            room.send(WorkerMail::Job(Box::new(Job {
                call,
                arrival: self.meter.arrived(),
                arrived: Instant::now(),
                caller,
            })));
            outcome
        });
        let is_stopping = self.mailboxes.iter().all(Mailbox::is_closed);
        async move {
            let stopping = || Failure::new(Reason::Stopping, "the workers are stopping");
            match queued {
                Some(outcome) => outcome.await.unwrap_or_else(|_| Err(stopping())),
                None if is_stopping => Err(stopping()),
                None => Err(Failure::new(Reason::Overloaded, "all workers' queues are full")),
            }
        }
    }

    /// Calls that wait and calls that run.
    pub(crate) fn load(&self) -> (usize, usize) {
        let sum = |count: fn(&Mailbox<WorkerMail>) -> usize| self.mailboxes.iter().map(count).sum();
        (sum(Mailbox::waiting), sum(Mailbox::running))
    }

    /// Asks every worker to stop; a worker with a full queue stops when it has taken from it.
    pub(crate) fn stop(&self) {
        for mailbox in &self.mailboxes {
            mailbox.post(WorkerMail::Stop);
        }
    }

    /// The worker with the least to do, by turns among equals.
    fn least_loaded(&self) -> Option<&Mailbox<WorkerMail>> {
        let start = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.mailboxes.len();
        (0..count)
            .filter_map(|offset| self.mailboxes.get((start.wrapping_add(offset)) % count))
            .min_by_key(|mailbox| mailbox.waiting() + mailbox.running())
    }
}

/// Starts the threads of the workers.
///
/// # Errors
/// [`StartError::Thread`] if the operating system gives none.
pub(crate) fn start(
    services: &Arc<Services>,
    options: &Arc<Options>,
    idle: Idle,
) -> Result<Vec<VmThread>, StartError> {
    let workers = idle.0.into_iter().zip(&services.workers.mailboxes).enumerate();
    workers
        .map(|(index, (receiver, mailbox))| {
            let (services, options) = (Arc::clone(services), Arc::clone(options));
            let mailbox = mailbox.clone();
            let testing = options.testing.is_some();
            vm_thread::spawn(&format!("worker-{index}"), testing, move || async move {
                match Local::open(services, options, None) {
                    Ok((lua, local)) => serve(&lua, &local, &mailbox, receiver).await,
                    Err(error) => tracing::error!(%error, "a worker has no VM"),
                }
            })
        })
        .collect()
}

async fn serve(
    lua: &Lua,
    local: &Rc<Local>,
    mailbox: &Mailbox<WorkerMail>,
    mut receiver: mpsc::Receiver<WorkerMail>,
) {
    let mut turn = turn::Turn::default();
    while let Some(WorkerMail::Job(job)) = receiver.recv().await {
        if mailbox.running() >= local.options.handlers {
            let failure = Failure::new(Reason::Overloaded, "too many functions run on this worker");
            local.services.workers.meter.dropped(job.arrival);
            drop(job.caller.send(Err(failure)));
            continue;
        }
        let running = mailbox.enter();
        let (lua, local) = (lua.clone(), Rc::clone(local));
        turn.start(async move {
            work(&lua, &local, *job).await;
            drop(running);
        })
        .await;
    }
}

/// Runs one call and answers it.
async fn work(lua: &Lua, local: &Rc<Local>, job: Job) {
    let Job { call, arrival, arrived, caller } = job;
    let waited = arrived.elapsed();
    let meter = &local.services.workers.meter;
    if caller.is_closed() {
        meter.dropped(arrival);
        return;
    }
    if call.for_peer {
        if let Err(late) = meter.started_for_peer(arrival) {
            let failure = Failure::new(Reason::Refused, late.to_string());
            return drop(caller.send(Err(failure)));
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
    let outcome = match sandboxed(lua, local, &run, call.function, call.args).await {
        Ok(results) => pack_results(lua, local, &run.name, results),
        Err(failure) => Err(log_failure(local, &run, &failure)),
    };
    run.trace_end(call.trace, waited);
    meter.finished(run.busy.get());
    local.services.counters.handled(run.busy.get());
    match caller {
        // A caller that has gone away wants no outcome.
        Some(caller) => drop(caller.send(outcome)),
        None => run.end(outcome),
    }
}

async fn sandboxed(
    lua: &Lua,
    local: &Rc<Local>,
    run: &Rc<Run>,
    function: Function,
    args: Vec<Value>,
) -> Result<MultiValue, ScriptFailure> {
    let (function, args) =
        rebuild(lua, local, function, args).map_err(|error| ScriptFailure::from(&error))?;
    execute(local, Rc::clone(run), function, args).await
}

fn rebuild(
    lua: &Lua,
    local: &Rc<Local>,
    function: Function,
    args: Vec<Value>,
) -> mlua::Result<(mlua::Function, MultiValue)> {
    let env = local.sandbox(lua)?;
    let mut unpacker = Unpacker::new(lua, local, &env);
    match unpacker.unpack(Value::Function(function))? {
        LuaValue::Function(function) => Ok((function, unpacker.unpack_all(args)?)),
        _ => Err(mlua::Error::runtime("what was sent is no function")),
    }
}
