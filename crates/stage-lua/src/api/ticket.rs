//! Tickets: handlers that run only while a permit is held.

use std::rc::Rc;
use std::time::Duration;

use mlua::{Error, Lua};
use stage_signal::{Failure, Reason};
use stage_ticket::Ticket;
use stage_value::{Address, Id, Key, MessageId, Value};

use super::signal::{hand_to, unheard};
use super::{duration_of, with_bound};
use crate::error::ScriptFailure;
use crate::home::{Event, Home};
use crate::run::{Run, execute, log_failure};
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
    let place = {
        let _entered = local.services.enter();
        local.services.parts.tickets.acquire(category.as_str())
    };
    let waiting = local.wait();
    let request = Request {
        lua: lua.clone(),
        local: Rc::clone(local),
        home: home.clone(),
        category: category.clone(),
        callback: callback.clone(),
        feedback: feedback.cloned(),
    };
    tokio::task::spawn_local(async move {
        match place.await {
            Ok(ticket) => request.granted(ticket, args).await,
            Err(refusal) => {
                request.failed(Failure::new(Reason::Refused, refusal.to_string())).await;
            }
        }
        drop(waiting);
    });
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
    async fn granted(self, ticket: Ticket, args: Vec<Value>) {
        let handler = self.local.handlers.borrow().of_message(&self.callback).cloned();
        let Some(handler) = handler else {
            let text = format!("no handler '{}' for the ticket", self.callback);
            return self.failed(Failure::new(Reason::NoHandler, text)).await;
        };
        let id = Value::from(ticket.id().to_string());
        if let Some(feedback) = &self.feedback {
            hand_to(&self.lua, &self.local, feedback, vec![Value::Bool(true), id.clone()]).await;
        }
        let _held = Held::new(&self.local, &self.category);
        let ticket = Rc::new(ticket);
        ticket.auto_extend(self.local.options.handler_time);
        let lost = ticket.lost();
        tokio::select! {
            biased;
            () = self.run(Rc::clone(&ticket), &handler, args) => {}
            () = lost => self.lost(id).await,
        }
    }

    /// Runs the callback while the permit is held.
    async fn run(&self, ticket: Rc<Ticket>, handler: &Handler, args: Vec<Value>) {
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

/// Marks the VM as a holder of a category, for broadcasts.
struct Held<'a> {
    local: &'a Local,
    category: &'a Id,
}

impl<'a> Held<'a> {
    fn new(local: &'a Local, category: &'a Id) -> Self {
        *local.held.borrow_mut().entry(category.clone()).or_default() += 1;
        Self { local, category }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut held = self.local.held.borrow_mut();
        if let Some(count) = held.get_mut(self.category) {
            *count -= 1;
            if *count == 0 {
                held.remove(self.category);
            }
        }
    }
}

/// `stage.signal(nil, ms)` in a ticket handler.
pub(super) fn extend(ticket: &Ticket, millis: f64) -> mlua::Result<()> {
    if millis.is_nan() || millis <= 0.0 {
        let message = format!("a ticket is extended by milliseconds above 0, not by {millis}");
        return Err(Error::runtime(message));
    }
    ticket.extend(duration_of(millis / 1000.0)).map(drop).map_err(Error::external)
}

/// `stage.signal("ticket:@category", limit, close_after_ms)`.
pub(super) fn alter(local: &Local, category: &Id, args: &[Value]) {
    let limit = args.first().and_then(whole);
    let close_after = args.get(1).and_then(whole).and_then(|ms| u64::try_from(ms).ok());
    let address = format!("ticket:@{category}");
    let Some(limit) = limit else {
        let failure =
            Failure::new(Reason::Malformed, "the first argument is the limit, an integer");
        return unheard(local, &address, "", &failure);
    };
    let close_after = close_after.map(Duration::from_millis);
    let _entered = local.services.enter();
    let altered = local.services.parts.tickets.set_category(category.as_str(), limit, close_after);
    if let Err(error) = altered {
        unheard(local, &address, "", &Failure::new(Reason::Malformed, error.to_string()));
    }
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

/// `stage.signal("ticket:=category", ...)`: the holders' `ticket:category` handlers hear it.
pub(super) fn broadcast(local: &Local, category: &Id, args: Vec<Value>) {
    local.services.events.tell(&Event {
        name: format!("ticket:{category}").into(),
        args,
        holders_of: Some(category.clone()),
    });
}
