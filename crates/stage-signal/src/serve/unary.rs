//! A signal of an outside client: one call, one end.

use std::sync::Arc;
use std::time::Duration;

use stage_proto::signal::v1 as proto;
use stage_proto::signal::v1::signal_response::Outcome;
use stage_value::{Address, Id, Scope, SignalAddress, Target, Value};

use super::Caller;
use crate::dispatch::Sender;
use crate::mesh::Shared;
use crate::plain::{from_plain, to_plain};
use crate::stats::count;
use crate::{Destination, Failure, Outcomes, Outgoing, Reason};

/// Sends a client's signal and waits for its end.
pub(super) async fn signal(
    shared: &Arc<Shared>,
    request: proto::SignalRequest,
    caller: Option<&Caller>,
) -> Outcome {
    let results = match send(shared, request, caller) {
        Ok((outcomes, is_scoped)) => gather(outcomes, is_scoped).await,
        Err(failure) => {
            count(&shared.counters.turned_away);
            Err(failure)
        }
    };
    let plain = results.and_then(|results| {
        to_plain("results", &results).map_err(|error| malformed(error.to_string()))
    });
    match plain {
        Ok(values) => Outcome::Results(proto::Results { values }),
        Err(failure) => Outcome::Failure(failure.into_proto()),
    }
}

fn send(
    shared: &Shared,
    request: proto::SignalRequest,
    caller: Option<&Caller>,
) -> Result<(Outcomes, bool), Failure> {
    shared.admit_client()?;
    let address = parse(&request.address)?;
    let stage = match address.target {
        Target::Stage(stage) => stage,
        _ => only_stage(shared, &request.address)?,
    };
    if let Some(who) = caller.and_then(Caller::identity) {
        let rule = shared.config.allow.as_ref().and_then(|policy| policy.rule(who));
        shared.permit(who, rule.as_deref(), stage.as_str())?;
    }
    let args = from_plain("args", request.args, shared.config.limits)
        .map_err(|error| malformed(error.to_string()))?;
    let timeout = match request.timeout_ms {
        0 => shared.config.client_timeout,
        ms => Duration::from_millis(ms),
    };
    let outgoing = Outgoing {
        destination: match address.scope {
            None => Destination::Stage(stage),
            Some(Scope::Every) => Destination::Every(stage),
            Some(Scope::Group) => Destination::Group(stage),
            Some(Scope::Others) => Destination::Others(stage),
            Some(_) => return Err(malformed("this scope is not known here".into())),
        },
        message: address.message,
        args,
        origin_stage: "".into(),
        wants_results: true,
        timeout: Some(timeout),
        trace: request.traceparent.parse().ok(),
    };
    Ok((shared.send(outgoing, Sender::Client), address.scope.is_some()))
}

/// One stage's results as they are; of several stages a list each, unless all have failed.
async fn gather(mut outcomes: Outcomes, is_scoped: bool) -> Result<Vec<Value>, Failure> {
    let mut lists = Vec::new();
    let mut failed = None;
    while let Some(outcome) = outcomes.next().await {
        match outcome {
            Ok(results) if is_scoped => lists.push(Value::list(results)),
            Ok(results) => return Ok(results),
            Err(failure) => failed = Some(failure),
        }
    }
    match failed {
        Some(failure) if lists.is_empty() => Err(failure),
        _ => Ok(lists),
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

fn malformed(detail: String) -> Failure {
    Failure::new(Reason::Malformed, detail)
}
