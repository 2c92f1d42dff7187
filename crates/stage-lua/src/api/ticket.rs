//! Tickets: handlers that run only while a permit is held.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mlua::{Error, Lua};
use stage_signal::{Failure, Reason};
use stage_ticket::{AnyAcquire, AnyTicket, ExtendError};
use stage_value::{Address, Id, Key, MessageId, Value};

use super::signal::{hand_to, unheard};
use super::{broadcasts, duration_of, with_bound};
use crate::error::ScriptFailure;
use crate::home::Home;
use crate::run::{Run, execute, log_failure};
use crate::tickets::Waiting;
use crate::vm::{Handler, Local};

/// `ticket:category=callback?feedback`: takes a place in the queue now, runs the callback when a
/// permit is granted, and gives the permit back when the callback has ended, however it ends.
pub(super) fn request(
    lua: &Lua,
    local: &Rc<Local>,
    home: &Home,
    category: &Id,
    callback: &MessageId,
    feedback: Option<&MessageId>,
    args: Vec<Value>,
) {
    let now = (local.altered.is_settled()).then(|| place_in(local, category));
    let pending = local.wait();
    let request = Request {
        lua: lua.clone(),
        local: Rc::clone(local),
        home: home.clone(),
        category: category.clone(),
        callback: callback.clone(),
        feedback: feedback.cloned(),
    };
    tokio::task::spawn_local(async move {
        let place = match now {
            Some(place) => place,
            None => {
                request.local.altered.settled().await;
                place_in(&request.local, &request.category)
            }
        };
        let granted = match place {
            Ok((place, waiting)) => {
                let granted = place.await.map_err(|refusal| refusal.to_string());
                drop(waiting);
                granted
            }
            Err(trouble) => Err(trouble.to_string()),
        };
        match granted {
            Ok(ticket) => request.granted(ticket, args).await,
            Err(refusal) => request.failed(Failure::new(Reason::Refused, refusal)).await,
        }
        drop(pending);
    });
}

/// Takes a place in the queue of a category.
fn place_in(local: &Local, category: &Id) -> Result<(AnyAcquire, Waiting), Arc<str>> {
    let _entered = local.services.enter();
    local.services.parts.tickets.acquire(category.as_str())
}

struct Request {
    lua: Lua,
    local: Rc<Local>,
    home: Home,
    category: Id,
    callback: MessageId,
    feedback: Option<MessageId>,
}

impl Request {
    async fn granted(self, ticket: AnyTicket, args: Vec<Value>) {
        let handler = self.local.handlers.borrow().of_message(&self.callback).cloned();
        let Some(handler) = handler else {
            let text = format!("no handler '{}' for the ticket", self.callback);
            return self.failed(Failure::new(Reason::NoHandler, text)).await;
        };
        let id = Value::from(ticket.id().to_string());
        if let Some(feedback) = &self.feedback {
            hand_to(&self.lua, &self.local, feedback, vec![Value::Bool(true), id.clone()]).await;
        }
        let ticket = Rc::new(ticket);
        ticket.auto_extend(self.local.options.handler_time);
        let mut notices = ticket.notices();
        let mut run = pin!(self.run(Rc::clone(&ticket), &handler, args));
        loop {
            tokio::select! {
                biased;
                () = &mut run => return,
                notice = notices.next() => match notice {
                    Some(message) => {
                        broadcasts::hear(&self.lua, &self.local, &self.category, &message);
                    }
                    None => break,
                },
            }
        }
        self.lost(id).await;
    }

    /// Runs the callback while the permit is held.
    async fn run(&self, ticket: Rc<AnyTicket>, handler: &Handler, args: Vec<Value>) {
        let run = Rc::new(Run {
            ticket: Some(ticket),
            ..Run::new(self.callback.to_shared(), self.home.clone())
        });
        let running = self.home.mailbox.enter();
        let result = match with_bound(&self.lua, &self.local, handler, args) {
            Ok(args) => execute(&self.local, Rc::clone(&run), handler.function.clone(), args)
                .await
                .map(drop),
            Err(error) => Err(ScriptFailure::from(&error)),
        };
        if let Err(failure) = result {
            log_failure(&self.local, &run, &failure);
        }
        self.local.services.counters.handled(run.busy.get());
        drop(running);
    }

    /// The permit is gone: the callback has been stopped, and `ticket:@` handlers hear of it.
    async fn lost(&self, id: Value) {
        let text = format!("handler '{}' was stopped", self.callback);
        tracing::error!(stage = %self.home.stage, category = %self.category, "ticket lost: {text}");
        let handler = self.local.handlers.borrow().of_event("ticket:@").cloned();
        if let Some(handler) = handler {
            let args = vec![Value::from("cancel"), id, Value::from(self.category.as_str())];
            super::run_handler(&self.lua, &self.local, "ticket:@".into(), &handler, args).await;
        }
    }

    /// The callback does not run: the feedback handler hears why, else the log.
    async fn failed(&self, failure: Failure) {
        match &self.feedback {
            Some(feedback) => {
                let args = vec![Value::Bool(false), Value::from(failure.detail)];
                hand_to(&self.lua, &self.local, feedback, args).await;
            }
            None => unheard(&self.local, &self.address(), "?handler", &failure),
        }
    }

    fn address(&self) -> String {
        Address::Ticket {
            category: self.category.clone(),
            callback: self.callback.clone(),
            feedback: self.feedback.clone(),
        }
        .to_string()
    }
}

/// `stage.signal(nil, ms)` in a ticket handler.
pub(super) fn extend(local: &Rc<Local>, ticket: &Rc<AnyTicket>, millis: f64) -> mlua::Result<()> {
    if millis.is_nan() || millis <= 0.0 {
        let message = format!("a ticket is extended by milliseconds above 0, not by {millis}");
        return Err(Error::runtime(message));
    }
    if ticket.deadline().is_none() {
        return Err(Error::external(ExtendError::NotHeld));
    }
    let by = duration_of(millis / 1000.0);
    let (local, ticket) = (Rc::clone(local), Rc::clone(ticket));
    tokio::task::spawn_local(async move {
        match ticket.extend(by).await {
            // As long as its handler runs, the node extends it anyway, little by little.
            Ok(_) | Err(ExtendError::NotHeld | ExtendError::TooLong { .. }) => {}
            Err(error) => {
                let failure = Failure::new(Reason::Refused, error.to_string());
                let what = format!("an extension of ticket {}", ticket.id());
                unheard(&local, &what, "", &failure);
            }
        }
    });
    Ok(())
}

/// `stage.signal("ticket:@category", limit, close_after_ms)`.
pub(super) fn alter(local: &Rc<Local>, category: &Id, args: &[Value]) {
    let limit = args.first().and_then(whole);
    let close_after = args.get(1).and_then(whole).and_then(|ms| u64::try_from(ms).ok());
    let address = format!("ticket:@{category}");
    let Some(limit) = limit else {
        let failure =
            Failure::new(Reason::Malformed, "the first argument is the limit, an integer");
        return unheard(local, &address, "", &failure);
    };
    let close_after = close_after.map(Duration::from_millis);
    let (local, category) = (Rc::clone(local), category.clone());
    let tickets = local.services.parts.tickets.tickets().clone();
    let alteration =
        async move { tickets.set_category(category.as_str(), limit, close_after).await };
    let services = Arc::clone(&local.services);
    let altered = local.altered.make(move || services.spawn(alteration));
    tokio::task::spawn_local(async move {
        // A runtime that has ended has nobody left to tell.
        if let Ok(Err(error)) = altered.await {
            let failure = Failure::new(Reason::Malformed, error.to_string());
            unheard(&local, &address, "", &failure);
        }
    });
}

/// An integer, or a float that is one.
fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        Value::Float(number) => match Key::float(*number)? {
            Key::Int(number) => Some(number),
            _ => None,
        },
        _ => None,
    }
}
