//! The VM of one stage instance: its script, its mailbox, its handlers.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use mlua::{Lua, MultiValue};
use stage_route::Arrival;
use stage_signal::{Delivery, Failure, Reason};
use stage_value::{MessageId, Value};
use tokio::sync::oneshot;

use crate::caller::Caller;
use crate::error::ScriptFailure;
use crate::generation::{self, Alive, Generation};
use crate::home::{Event, Home, Mail, is_of_peer};
use crate::mailbox::Receiver;
use crate::run::{Answer, Run, execute, log_failure};
use crate::services::{Options, Services};
use crate::turn::Turn;
use crate::vm::{Handler, Local};
use crate::vm_thread::{self, VmThread};
use crate::{Script, StartError, api};

/// What an instance's thread needs to start.
pub(crate) struct Seat {
    pub(crate) home: Home,
    pub(crate) receiver: Receiver<Mail>,
    pub(crate) script: Script,
}

/// Tells how an instance's script has started.
pub(crate) type Started = oneshot::Receiver<Result<(), StartError>>;

/// Starts the thread of an instance; the channel tells how its script started.
///
/// # Errors
/// [`StartError::Thread`] if the operating system gives no thread.
pub(crate) fn start(
    services: Arc<Services>,
    options: Arc<Options>,
    seat: Seat,
) -> Result<(VmThread, Started), StartError> {
    let (started, result) = oneshot::channel();
    let name = seat.home.stage.to_string();
    let thread = vm_thread::spawn(&name, options.testing.is_some(), move || async move {
        let opened = Local::open(services, options, Some(seat.home.clone()));
        let (lua, local) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                drop(started.send(Err(script_error(&ScriptFailure::from(&error)))));
                return;
            }
        };
        let instance = Rc::new(Instance { lua, local, home: seat.home, alive: RefCell::default() });
        let begun = Rc::clone(&instance).begin(&seat.script).await;
        let serving = begun.is_ok();
        drop(started.send(begun));
        if serving {
            tokio::task::spawn_local(Rc::clone(&instance).follow_files());
            instance.serve(seat.receiver).await;
        }
    })?;
    Ok((thread, result))
}

pub(crate) struct Instance {
    pub(crate) lua: Lua,
    pub(crate) local: Rc<Local>,
    pub(crate) home: Home,
    /// What the script's own run started goes on until this one is replaced.
    pub(crate) alive: RefCell<Alive>,
}

impl Instance {
    /// Runs the script up to its first wait; what comes behind the wait goes on by itself.
    async fn begin(self: Rc<Self>, script: &Script) -> Result<(), StartError> {
        self.use_script(script);
        let alive = Alive::default();
        let run = self.script_run(script, Generation::open(alive.end()));
        self.start_script(script, &run).await.map_err(|failure| script_error(&failure))?;
        self.local.handlers.borrow_mut().make_known(&self.home.known);
        *self.alive.borrow_mut() = alive;
        Ok(())
    }

    pub(crate) fn script_run(&self, script: &Script, generation: Generation) -> Rc<Run> {
        let run = Run::new(script.name.as_str().into(), self.home.clone());
        Rc::new(Run { script: Some(generation), ..run })
    }

    /// Runs a script up to its first wait, and the rest of it until its generation ends.
    pub(crate) async fn start_script(
        self: &Rc<Self>,
        script: &Script,
        run: &Rc<Run>,
    ) -> Result<(), ScriptFailure> {
        let main = self.local.compile(&self.lua, script);
        let main = main.map_err(|error| ScriptFailure::from(&error))?;
        let (ended, mut first) = oneshot::channel();
        let (instance, own) = (Rc::clone(self), Rc::clone(run));
        let end = run.script.as_ref().map(Generation::end);
        let body = async move {
            // Not counted as running: a script that loops and sleeps for good must not hold up a stop.
            let result = tokio::select! {
                result = own.unlimited(&instance.local, main) => result,
                () = generation::end_of(end) => return,
            };
            if let Err(Err(failure)) = ended.send(result) {
                log_failure(&instance.local, &own, &failure);
            }
        };
        Turn::default().start(body).await;
        while run.paused.get() {
            tokio::task::yield_now().await;
        }
        first.try_recv().unwrap_or(Ok(()))
    }

    async fn serve(self: Rc<Self>, mut receiver: Receiver<Mail>) {
        let mut turn = Turn::default();
        while let Some(mail) = receiver.recv().await {
            match mail {
                Mail::Delivery(delivery, arrival) => {
                    if self.home.mailbox.running() >= self.local.options.handlers {
                        self.home.meter.dropped(arrival);
                        let full = "too many handlers of this stage run or sleep";
                        delivery.responder.fail(Failure::new(Reason::Overloaded, full));
                        continue;
                    }
                    turn.start(Rc::clone(&self).receive(delivery, arrival)).await;
                }
                Mail::Signal(address, idempotent, args) => {
                    let addressed = api::signal::Addressed::of_mail(address, idempotent);
                    api::signal::send(&self.lua, &self.local, &self.home, &addressed, args);
                }
                Mail::Thread(id, args) => {
                    let (lua, local) = (self.lua.clone(), Rc::clone(&self.local));
                    turn.start(api::thread::hear(lua, local, id, args)).await;
                }
                Mail::Event(event) => turn.start(Rc::clone(&self).hear(event)).await,
                Mail::Test(question) => {
                    let instance = Rc::clone(&self);
                    turn.start(async move { instance.answer(question).await }).await;
                }
                Mail::Stop => return,
            }
        }
    }

    /// Gives a message to its handler, or runs the function that came with it.
    async fn receive(self: Rc<Self>, delivery: Box<Delivery>, arrival: Arrival) {
        let running = self.home.mailbox.enter();
        if delivery.responder.is_cancelled() {
            self.home.meter.dropped(arrival);
            return;
        }
        if is_of_peer(&delivery) {
            if let Err(late) = self.home.meter.started_for_peer(arrival) {
                return delivery.responder.fail(Failure::new(Reason::Refused, late.to_string()));
            }
        } else {
            self.home.meter.started(arrival);
        }
        let handler = self.local.handlers.borrow().of_message(&delivery.message).cloned();
        match (handler, delivery.args.first()) {
            (Some(handler), _) => self.handle(handler, delivery).await,
            (None, Some(Value::Function(_))) => {
                self.home.meter.passed();
                self.home.ship(*delivery);
            }
            (None, _) => {
                self.home.meter.passed();
                let failure = self.no_handler(&delivery.message);
                delivery.responder.fail(failure);
            }
        }
        drop(running);
    }

    /// Runs a handler; its sender gets what it replies or returns, whichever is first.
    async fn handle(&self, handler: Handler, delivery: Box<Delivery>) {
        let Delivery { message, args, origin, responder, wants_results, trace, received, .. } =
            *delivery;
        let waited = trace.map(|_| received.elapsed());
        let run = Rc::new(Run {
            origin: Some(origin),
            trace: trace.map(|sender| sender.child()),
            answer: RefCell::new(Answer::Caller(Caller::sender(responder))),
            wants_results,
            ..Run::new(message.to_shared(), self.home.clone())
        });
        tokio::select! {
            biased;
            () = self.answered_call(&run, &handler, args, wants_results) => {}
            () = run.deserted() => {}
        }
        if let Some(later) = run.later() {
            later.over().await;
            self.local.handlers.borrow_mut().remove(&later.id);
        }
        run.trace_end(trace, waited.unwrap_or_default());
        self.home.meter.finished(run.busy.get());
        self.local.services.counters.handled(run.busy.get());
    }

    /// Runs a handler and answers with what it returns, unless it has replied before.
    async fn answered_call(
        &self,
        run: &Rc<Run>,
        handler: &Handler,
        args: Vec<Value>,
        wants_results: bool,
    ) {
        let outcome = match self.call(run, handler, args).await {
            Ok(results) if wants_results => run.pack(&self.lua, &self.local, results),
            Ok(_) => Ok(Vec::new()),
            Err(failure) => Err(log_failure(&self.local, run, &failure)),
        };
        run.end(outcome);
    }

    async fn call(
        &self,
        run: &Rc<Run>,
        handler: &Handler,
        args: Vec<Value>,
    ) -> Result<MultiValue, ScriptFailure> {
        let args = run
            .take_in(args, |args| api::with_bound(&self.lua, &self.local, handler, args))
            .map_err(|error| ScriptFailure::from(&error))?;
        execute(&self.local, Rc::clone(run), handler.function.clone(), args).await
    }

    /// Runs the handler of an event, if there is one.
    async fn hear(self: Rc<Self>, event: Event) {
        let handler = self.local.handlers.borrow().of_event(&event.name).cloned();
        if let Some(handler) = handler {
            api::run_handler(&self.lua, &self.local, event.name, &handler, event.args).await;
        }
    }

    fn no_handler(&self, message: &MessageId) -> Failure {
        let handlers = self.local.handlers.borrow();
        let known = handlers.ids();
        let shown: Vec<_> = known.iter().take(16).map(|id| &**id).collect();
        let known = if shown.is_empty() { "none".to_owned() } else { shown.join(", ") };
        let stage = &self.home.stage;
        let text = format!("stage '{stage}' has no handler '{message}'; it has: {known}");
        Failure::new(Reason::NoHandler, text)
    }
}

fn script_error(failure: &ScriptFailure) -> StartError {
    StartError::Script { message: failure.to_string() }
}
