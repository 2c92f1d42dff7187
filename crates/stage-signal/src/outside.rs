//! Signals of outside clients, by whatever door they came.

use std::time::Duration;

use stage_value::{Address, Id, Scope, SignalAddress, Target, Value};

use crate::dispatch::Sender;
use crate::mesh::Shared;
use crate::stats::count;
use crate::{Caller, Destination, Failure, Outcomes, Outgoing, Reason, Trace};

/// A signal of an outside client.
#[derive(Clone, Debug)]
pub struct OutsideSignal {
    /// As in Lua, such as `"lobby:join"`; without a reply and a failure handler, which a client
    /// does not have.
    pub address: String,
    /// What the handler is called with.
    pub args: Vec<Value>,
    /// How long to wait for the end; `None` stands for
    /// [`Config::client_timeout`](crate::Config::client_timeout).
    pub timeout: Option<Duration>,
    /// Whether running it twice does no harm; see [`Outgoing::idempotent`].
    pub idempotent: bool,
    /// The trace that it belongs to.
    pub trace: Option<Trace>,
}

/// The ends of a client's signal, and whether it has a scope.
pub(crate) struct Sent {
    outcomes: Outcomes,
    is_scoped: bool,
}

impl Shared {
    /// Sends a client's signal, or says why it is turned away. `name` is the client as a stage.
    pub(crate) fn send_outside(
        &self,
        signal: OutsideSignal,
        caller: Option<&Caller>,
        name: &str,
    ) -> Result<Sent, Failure> {
        let sent = self.try_send_outside(signal, caller, name);
        if sent.is_err() {
            count(&self.counters.turned_away);
        }
        sent
    }

    fn try_send_outside(
        &self,
        signal: OutsideSignal,
        caller: Option<&Caller>,
        name: &str,
    ) -> Result<Sent, Failure> {
        self.admit_client()?;
        let address = parse(&signal.address)?;
        let stage = match address.target {
            Target::Stage(stage) => stage,
            _ => only_stage(self, &signal.address)?,
        };
        if let Some(who) = caller.and_then(Caller::identity) {
            let rule = self.config.allow.as_ref().and_then(|policy| policy.rule(who));
            self.permit(who, rule.as_deref(), stage.as_str())?;
        }
        let outgoing = Outgoing {
            destination: match address.scope {
                None => Destination::Stage(stage),
                Some(Scope::Every) => Destination::Every(stage),
                Some(Scope::Group) => Destination::Group(stage),
                Some(Scope::Others) => Destination::Others(stage),
                Some(_) => return Err(malformed("this scope is not known here".into())),
            },
            message: address.message,
            args: signal.args,
            origin_stage: name.into(),
            wants_results: true,
            idempotent: signal.idempotent,
            timeout: Some(signal.timeout.unwrap_or(self.config.client_timeout)),
            trace: signal.trace,
        };
        let outcomes = self.send(outgoing, Sender::Client);
        Ok(Sent { outcomes, is_scoped: address.scope.is_some() })
    }
}

impl Sent {
    /// One stage's results as they are; of several stages a list each, unless all have failed.
    pub(crate) async fn gather(mut self) -> Result<Vec<Value>, Failure> {
        let mut lists = Vec::new();
        let mut failed = None;
        while let Some(outcome) = self.outcomes.next().await {
            match outcome {
                Ok(results) if self.is_scoped => lists.push(Value::list(results)),
                Ok(results) => return Ok(results),
                Err(failure) => failed = Some(failure),
            }
        }
        match failed {
            Some(failure) if lists.is_empty() => Err(failure),
            _ => Ok(lists),
        }
    }
}

fn parse(text: &str) -> Result<SignalAddress, Failure> {
    let address: Address = text.parse().map_err(|error| malformed(format!("{error}")))?;
    let Address::Signal(address) = address else {
        return Err(malformed(format!(
            "'{text}' is a ticket; scripts take tickets, clients do not"
        )));
    };
    if address.target == Target::Instance {
        return Err(malformed(format!("'{text}': a client is no stage instance; name a stage")));
    }
    if address.reply.is_some() || address.failure.is_some() {
        let detail =
            format!("'{text}': a client has no handlers; the answer comes as the response");
        return Err(malformed(detail));
    }
    Ok(address)
}

fn only_stage(shared: &Shared, text: &str) -> Result<Id, Failure> {
    let names = shared.locals.names();
    let only = match names.as_slice() {
        [only] => only.parse().ok(),
        _ => None,
    };
    let list = || names.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(", ");
    only.ok_or_else(|| {
        let detail = format!("'{text}' names no stage and this node carries several: {}", list());
        malformed(if names.is_empty() {
            format!("'{text}' names no stage and this node carries none")
        } else {
            detail
        })
    })
}

pub(crate) fn malformed(detail: String) -> Failure {
    Failure::new(Reason::Malformed, detail)
}
