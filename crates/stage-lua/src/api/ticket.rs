//! Tickets: handlers that run only while a permit is held.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use mlua::{Error, Lua};
use stage_route::Meter;
use stage_signal::{Failure, Reason};
use stage_ticket::{AnyTicket, ExtendError};
use stage_value::{Address, Id, Key, MessageId, Value};
use tokio::time::{Instant, sleep_until};

use super::signal::{hand_to, unheard};
use super::{broadcasts, duration_of, with_bound};
use crate::error::ScriptFailure;
use crate::home::Home;
use crate::run::{Run, execute, log_failure};
use crate::tickets::{Due, Place, Queued};
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
    let due = Due::new(&home.meter);
    let request = Request {
        lua: lua.clone(),
        local: Rc::clone(local),
        home: home.clone(),
        category: category.clone(),
        callback: callback.clone(),
        feedback: feedback.cloned(),
    };
    tokio::task::spawn_local(async move {
        let granted = async {
            let place = match now {
                Some(place) => place,
                None => {
                    request.local.altered.settled().await;
                    place_in(&request.local, &request.category)
                }
            };
            place?.granted().await
        };
        let (granted, queued) = due.of(granted).await;
        match granted {
            Ok(ticket) => request.granted(ticket, queued, args).await,
            Err(why) => {
                drop(queued);
                request.failed(Failure::new(Reason::Refused, why.to_string())).await;
            }
        }
        drop(pending);
    });
}

/// Takes a place in the queue of a category.
fn place_in(local: &Local, category: &Id) -> Result<Place, Arc<str>> {
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
    async fn granted(self, ticket: AnyTicket, queued: Queued, args: Vec<Value>) {
        let handler = self.local.handlers.borrow().of_message(&self.callback).cloned();
        let Some(handler) = handler else {
            drop(queued);
            let text = format!("no handler '{}' for the ticket", self.callback);
            return self.failed(Failure::new(Reason::NoHandler, text)).await;
        };
        let id = Value::from(ticket.id().to_string());
        self.keep(&ticket);
        queued.started();
        let started = Started { meter: &self.home.meter, run: RefCell::default() };
        if let Some(feedback) = &self.feedback {
            hand_to(&self.lua, &self.local, feedback, vec![Value::Bool(true), id.clone()]).await;
        }
        let has_ended = self.held(Rc::new(ticket), &started, &handler, args).await;
        drop(started);
        if !has_ended {
            self.lost(id).await;
        }
    }

    /// Runs the callback as long as the permit is held; whether it came to its end.
    async fn held(
        &self,
        ticket: Rc<AnyTicket>,
        started: &Started<'_>,
        handler: &Handler,
        args: Vec<Value>,
    ) -> bool {
        self.keep(&ticket);
        let mut notices = ticket.notices();
        let mut run = pin!(self.run(Rc::clone(&ticket), started, handler, args));
        let mut last_moment = pin!(last_moment(&ticket, self.spare()));
        loop {
            // The last moment comes first: past it the callback must not even be resumed.
            tokio::select! {
                biased;
                () = &mut last_moment => return false,
                () = &mut run => return true,
                notice = notices.next() => match notice {
                    Some(message) => {
                        broadcasts::hear(&self.lua, &self.local, &self.category, &message);
                    }
                    None => return false,
                },
            }
        }
    }

    /// Has the permit extended for as long as a handler may run, which is to end by that limit and not by its
    /// permit's.
    fn keep(&self, ticket: &AnyTicket) {
        ticket.auto_extend(self.local.options.handler_time + 2 * self.spare());
    }

    /// How long before the permit's deadline the callback is stopped: as long as it may compute before the
    /// host gets the VM back, and as much again for a machine that has other things to do.
    fn spare(&self) -> Duration {
        (2 * self.local.options.quantum).min(LONGEST_SPARE)
    }

    /// Runs the callback while the permit is held.
    async fn run(
        &self,
        ticket: Rc<AnyTicket>,
        started: &Started<'_>,
        handler: &Handler,
        args: Vec<Value>,
    ) {
        let run = Rc::new(Run {
            ticket: Some(ticket),
            ..Run::new(self.callback.to_shared(), self.home.clone())
        });
        let running = self.home.mailbox.enter();
        started.run.replace(Some(Rc::clone(&run)));
        let args = run.take_in(args, |args| with_bound(&self.lua, &self.local, handler, args));
        let result = match args {
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

/// What a granted ticket is for, from the feedback's turn on until the callback has ended or was stopped.
struct Started<'a> {
    meter: &'a Meter,
    /// The callback's run, once it has begun.
    run: RefCell<Option<Rc<Run>>>,
}

impl Drop for Started<'_> {
    fn drop(&mut self) {
        let busy = self.run.take().map_or(Duration::ZERO, |run| run.busy.get());
        self.meter.finished(busy);
    }
}

/// A grant is for a second: with a long quantum most of it is to be left.
const LONGEST_SPARE: Duration = Duration::from_millis(250);

/// Resolves `spare` before the ticket's deadline, extensions included.
async fn last_moment(ticket: &AnyTicket, spare: Duration) {
    let mut timer = pin!(sleep_until(Instant::now()));
    poll_fn(|context| {
        // A thread that is busy fires its timers late, so the clock decides.
        let now = Instant::now();
        let Some(last) = ticket.deadline().and_then(|at| at.checked_sub(spare)) else {
            return Poll::Ready(());
        };
        if last <= now {
            return Poll::Ready(());
        }
        if timer.deadline() != last {
            timer.as_mut().reset(last);
        }
        timer.as_mut().poll(context).map(drop)
    })
    .await;
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

#[cfg(test)]
mod tests {
    use super::*;

    const SPARE: Duration = Duration::from_millis(20);

    #[tokio::test(start_paused = true)]
    async fn the_last_moment_comes_before_the_deadline_and_moves_with_it() {
        let tickets = stage_ticket::Tickets::new(stage_ticket::Config::default()).unwrap();
        let ticket = AnyTicket::Local(tickets.acquire("one").await.unwrap());
        let mut last = pin!(last_moment(&ticket, SPARE));
        let half = tokio::time::timeout(Duration::from_millis(500), &mut last);
        assert!(half.await.is_err());
        let deadline = ticket.extend(Duration::from_secs(2)).await.unwrap();
        last.await;
        assert!(ticket.deadline().is_some());
        // The timer has the resolution of a millisecond.
        assert!(deadline - SPARE <= Instant::now() + Duration::from_millis(1));
        assert!(Instant::now() < deadline - SPARE / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn past_the_last_moment_it_is_over_at_once_though_no_timer_has_fired() {
        let tickets = stage_ticket::Tickets::new(stage_ticket::Config::default()).unwrap();
        let ticket = AnyTicket::Local(tickets.acquire("one").await.unwrap());
        let last = pin!(last_moment(&ticket, Duration::from_secs(1)));
        assert!(futures_util::FutureExt::now_or_never(last).is_some());
    }
}
