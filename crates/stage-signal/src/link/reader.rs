//! What a peer's frames do: pure bookkeeping in the machine, deliveries and ends outside of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use stage_proto::signal::v1 as proto;
use stage_value::wire;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::functions;
use super::hello::check_stages;
use super::machine::Violation;
use super::{Attempt, Link};
use crate::budget::Cost;
use crate::dial::chain;
use crate::mesh::Shared;
use crate::outcomes::Outcome;
use crate::{Advert, Failure, Reason, Responder};

/// How long a link that has said all waits for the peer to close its side.
const LINGER: Duration = Duration::from_secs(1);

/// Reads a link until it ends, one way or the other.
pub(crate) async fn read(
    shared: Arc<Shared>,
    link: Arc<Link>,
    mut inbound: Streaming<proto::Frame>,
) {
    let silence = shared.config.silence;
    let why = loop {
        let next = tokio::select! {
            biased;
            () = link.over() => break "it was closed".to_owned(),
            next = timeout(silence, inbound.message()) => next,
        };
        match next {
            Err(_) => break format!("nothing was heard for {silence:?}"),
            Ok(Err(status)) => break chain(&status),
            Ok(Ok(None)) if link.machine().is_finished() => {
                link.close();
                break "the peer closed it".to_owned();
            }
            Ok(Ok(None)) => break "the peer closed it".to_owned(),
            Ok(Ok(Some(frame))) => {
                if let Err(violation) = handle(&shared, &link, frame) {
                    link.machine().condemn(&violation.to_string());
                    break format!("the peer broke the protocol: {violation}");
                }
            }
        }
        // A peer that always has a frame ready must not keep the thread.
        tokio::task::consume_budget().await;
    };
    if link.is_over() {
        shared.closed(&link);
        linger(&mut inbound).await;
    } else {
        shared.lose(&link, &why);
    }
}

/// Lets the last frames reach the peer: dropping the stream too early would reset it.
async fn linger(inbound: &mut Streaming<proto::Frame>) {
    let drained = async { while let Ok(Some(_)) = inbound.message().await {} };
    // A peer that does not close in time is cut off.
    drop(timeout(LINGER, drained).await);
}

fn handle(shared: &Arc<Shared>, link: &Arc<Link>, frame: proto::Frame) -> Result<(), Violation> {
    if frame.hello.is_some() {
        return Err(Violation::Hello);
    }
    if let Some(advert) = frame.advert {
        link.hear(Advert::from_proto(advert));
    }
    if let Some(stages) = frame.stages {
        check_stages(&stages.ids).map_err(|refusal| Violation::Stages(refusal.to_string()))?;
        link.stages.store(Arc::new(stages.ids.into_iter().map(Arc::from).collect()));
    }
    if frame.credit > 0 {
        link.machine().granted(frame.credit)?;
        link.writer.wake();
    }
    settle_all(shared, link, frame.endings)?;
    cancel_all(link, &frame.cancels)?;
    for envelope in frame.envelopes {
        receive(shared, link, envelope)?;
    }
    if let Some(bye) = frame.bye {
        if bye.reason() == proto::ByeReason::Protocol {
            tracing::error!(peer = %link.peer.name, why = bye.why, "the peer ends the link");
        } else {
            tracing::debug!(peer = %link.peer.name, why = bye.why, "the peer retires a link");
        }
        if bye.reason() == proto::ByeReason::Duplicate && shared.peers.is_active(link) {
            link.machine().bridge();
            tokio::spawn(give_up(Arc::clone(shared), Arc::clone(link)));
        } else {
            link.machine().bye_heard();
            link.retire(bye.reason(), "goodbye");
            shared.peers.refresh();
        }
    }
    Ok(())
}

/// Ends a link that bridges the time until another one is up, in case that never comes.
async fn give_up(shared: Arc<Shared>, link: Arc<Link>) {
    sleep(shared.config.hello_timeout).await;
    link.retire(proto::ByeReason::Duplicate, "goodbye");
    shared.peers.refresh();
}

fn settle_all(
    shared: &Arc<Shared>,
    link: &Arc<Link>,
    endings: Vec<proto::Ending>,
) -> Result<(), Violation> {
    let (mut settled, mut all) = (Vec::with_capacity(endings.len()), Ok(()));
    // Senders want the machine too: it is theirs again before they are told.
    let mut machine = link.machine();
    for ending in endings {
        match machine.ended(ending.id) {
            Ok(Some(attempt)) => settled.push((attempt, ending.outcome)),
            Ok(None) => {}
            Err(violation) => {
                all = Err(violation);
                break;
            }
        }
    }
    drop(machine);
    for (attempt, outcome) in settled {
        settle(shared, link, attempt, outcome);
    }
    all
}

fn settle(
    shared: &Arc<Shared>,
    link: &Link,
    attempt: Attempt,
    outcome: Option<proto::ending::Outcome>,
) {
    let malformed = |what: String| Failure::new(Reason::Malformed, what);
    let outcome: Outcome = match outcome {
        Some(proto::ending::Outcome::Results(bytes)) => decode(shared, link, &bytes)
            .map_err(|error| malformed(format!("results of {}: {error}", link.peer.name))),
        Some(proto::ending::Outcome::Failure(failure)) => Err(Failure::from_proto(failure)),
        None => Err(malformed(format!("{} sent an ending without an outcome", link.peer.name))),
    };
    match outcome {
        Err(failure) => shared.settle(attempt, &link.peer.name, failure, Cost::Retry),
        outcome => attempt.promise.keep(outcome),
    }
}

fn decode(
    shared: &Shared,
    link: &Link,
    bytes: &Bytes,
) -> Result<Vec<stage_value::Value>, wire::DecodeError> {
    let limits = &shared.config.limits;
    match link.rule.as_ref().is_none_or(|rule| rule.functions) {
        // Results that were not asked for are left out altogether.
        _ if bytes.is_empty() => Ok(Vec::new()),
        true => wire::decode(bytes, limits),
        false => wire::decode_data(bytes, limits),
    }
}

fn cancel_all(link: &Link, cancels: &[u64]) -> Result<(), Violation> {
    for id in cancels {
        let handler = link.machine().cancelled(*id)?.cloned();
        if let Some(handler) = handler {
            handler.cancel();
        }
    }
    Ok(())
}

fn receive(
    shared: &Arc<Shared>,
    link: &Arc<Link>,
    envelope: proto::Envelope,
) -> Result<(), Violation> {
    let handler = CancellationToken::new();
    let (id, limits) = (envelope.id, &shared.config.limits);
    let along =
        functions::decode(&envelope.functions, limits).ok_or(Violation::Functions { id })?;
    {
        let mut machine = link.machine();
        machine.received(id, handler.clone())?;
        machine.hear(&along);
    }
    let deadline = Shared::deadline(envelope.remaining_ms);
    let responder =
        Responder::remote(Arc::clone(link), envelope.id, handler, envelope.wants_results, deadline);
    shared.receive(envelope, &along, link, deadline, responder);
    Ok(())
}
