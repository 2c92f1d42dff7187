//! What a peer's frames do: pure bookkeeping in the machine, deliveries and ends outside of it.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use stage_proto::signal::v1 as proto;
use stage_value::{AddressError, MessageId, Prototype, wire};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tonic::Streaming;

use super::Link;
use super::functions;
use super::heard::{Ended, Envelope, Heard, Unreadable};
use super::hello::{brief, check_stages};
use super::machine::Sent;
use super::names::Names;
use super::violation::Violation;
use crate::budget::Cost;
use crate::dial::chain;
use crate::handler::Handler;
use crate::mesh::Shared;
use crate::outcomes::Outcome;
use crate::slot::Promise;
use crate::{Advert, Failure, Reason, Responder, Trace};

/// How long a link that has said all waits for the peer to close its side.
const LINGER: Duration = Duration::from_secs(1);

/// Reads a link until it ends, one way or the other.
pub(crate) async fn read(shared: Arc<Shared>, link: Arc<Link>, mut inbound: Streaming<Heard>) {
    let silence = shared.config.silence;
    let mut texts = Texts::default();
    let mut clock = Box::pin(sleep_until(Instant::now() + silence));
    let mut lost = Instant::now() + silence;
    let why = loop {
        let due = link.machine().due();
        let alarm = due.map_or(lost, |due| due.min(lost));
        // A clock that is early looks again; setting it anew for each frame would cost more.
        if clock.is_elapsed() || clock.deadline() > alarm {
            clock.as_mut().reset(alarm);
        }
        let next = tokio::select! {
            biased;
            () = link.over() => break "it was closed".to_owned(),
            next = inbound.message() => next,
            () = link.alarm.notified() => continue,
            () = clock.as_mut() => {
                let now = Instant::now();
                if now >= lost {
                    break format!("nothing was heard for {silence:?}");
                }
                link.pass_deadlines(now);
                continue;
            }
        };
        match next {
            Err(status) => break chain(&status),
            Ok(None) if link.machine().is_finished() => {
                link.close();
                break "the peer closed it".to_owned();
            }
            Ok(None) => break "the peer closed it".to_owned(),
            Ok(Some(frame)) => {
                let now = Instant::now();
                lost = now + silence;
                if let Err(violation) = handle(&shared, &link, frame, &mut texts) {
                    link.machine().condemn(&violation.to_string());
                    break format!("the peer broke the protocol: {violation}");
                }
                // A peer that always has a frame ready must not keep the clock from being looked at.
                link.pass_deadlines(now);
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
async fn linger(inbound: &mut Streaming<Heard>) {
    let drained = async {
        while let Ok(Some(_)) = inbound.message().await {
            // A peer that goes on sending must not keep the thread, nor its clock from being looked at.
            tokio::task::consume_budget().await;
        }
    };
    // A peer that does not close in time is cut off.
    drop(timeout(LINGER, drained).await);
}

fn handle(
    shared: &Arc<Shared>,
    link: &Arc<Link>,
    mut frame: Heard,
    texts: &mut Texts,
) -> Result<(), Violation> {
    let small = std::mem::take(&mut frame.small);
    if small.hello.is_some() {
        return Err(Violation::Hello);
    }
    if let Some(advert) = small.advert {
        link.hear(Advert::from_proto(advert));
    }
    if let Some(stages) = small.stages {
        check_stages(&stages.ids).map_err(|refusal| Violation::Stages(refusal.to_string()))?;
        link.stages.store(Arc::new(stages.ids.into_iter().map(Arc::from).collect()));
    }
    if small.credit > 0 {
        link.machine().granted(small.credit)?;
        link.writer.wake();
    }
    settle_all(shared, link, &frame)?;
    cancel_all(link, &small.cancels)?;
    receive_all(shared, link, &frame, texts)?;
    if let Some(bye) = small.bye {
        let bye = brief(bye);
        if link.machine().is_bye_heard() {
            return Err(Violation::Bye);
        }
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

fn settle_all(shared: &Arc<Shared>, link: &Arc<Link>, frame: &Heard) -> Result<(), Violation> {
    let (count, mut all) = (frame.ending_count(), Ok(()));
    if count == 0 {
        return all;
    }
    let mut settled = Vec::with_capacity(count);
    // Senders want the machine too: it is theirs again before they are told.
    let mut machine = link.machine();
    for ending in frame.endings() {
        let ended = ending.map_err(|_| Violation::Part).and_then(|ending| {
            let sent = machine.ended(ending.id)?;
            settled.extend(sent.map(|sent| (sent, ending.outcome)));
            Ok(())
        });
        if ended.is_err() {
            all = ended;
            break;
        }
    }
    drop(machine);
    let mut wakers = Vec::with_capacity(settled.len());
    for (sent, outcome) in settled {
        let outcome = match outcome {
            Some(Ended::Results(results)) => Ok(frame.share(results)),
            Some(Ended::Failure(failure)) => Err(Failure::from_proto(failure)),
            None => {
                let what = format!("{} sent an ending without an outcome", link.peer.name);
                Err(Failure::new(Reason::Malformed, what))
            }
        };
        wakers.extend(settle(shared, link, sent, outcome));
    }
    wakers.into_iter().for_each(Waker::wake);
    all
}

/// Ends a letter, or tries another node. Returns what is to be woken.
fn settle(
    shared: &Arc<Shared>,
    link: &Link,
    sent: Sent<Promise>,
    outcome: Result<Bytes, Failure>,
) -> Option<Waker> {
    let decode = |bytes: Bytes| {
        decode(shared, link, &bytes).map_err(|error| {
            let what = format!("results of {}: {error}", link.peer.name);
            Failure::new(Reason::Malformed, what)
        })
    };
    let outcome: Outcome = outcome.and_then(decode);
    match outcome {
        Err(failure) => {
            shared.settle(sent, &link.peer.name, failure, Cost::Retry);
            None
        }
        outcome => sent.waiter.keep_quietly(outcome),
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

/// The texts of envelopes that came last over a link.
pub(crate) struct Texts {
    stages: Names<Arc<str>>,
    messages: Names<MessageId>,
    origins: Names<Arc<str>>,
}

impl Default for Texts {
    fn default() -> Self {
        Self {
            stages: Names::new(|stage| stage),
            messages: Names::new(MessageId::as_str),
            origins: Names::new(|origin| origin),
        }
    }
}

/// An envelope on its way from the link to its stage.
pub(crate) struct Arrived {
    pub(crate) stage: Arc<str>,
    pub(crate) message: Result<MessageId, AddressError>,
    pub(crate) origin_stage: Arc<str>,
    pub(crate) args: Bytes,
    pub(crate) wants_results: bool,
    pub(crate) trace: Option<Trace>,
    pub(crate) at: Instant,
    pub(crate) deadline: Option<Instant>,
}

/// An envelope that the link has taken in, on its way to its stage.
struct Incoming {
    id: u64,
    arrived: Arrived,
    along: Vec<Arc<Prototype>>,
    handler: Arc<Handler>,
}

fn receive_all(
    shared: &Arc<Shared>,
    link: &Arc<Link>,
    frame: &Heard,
    texts: &mut Texts,
) -> Result<(), Violation> {
    let count = frame.envelope_count();
    if count == 0 {
        return Ok(());
    }
    let (now, mut all) = (Instant::now(), Ok(()));
    let mut taken = Vec::with_capacity(count);
    for envelope in frame.envelopes() {
        match take(shared, &envelope, frame, texts, now) {
            Ok(incoming) => taken.push(incoming),
            Err(violation) => {
                all = Err(violation);
                break;
            }
        }
    }
    // Handlers that end want the machine too: it is held once for the whole frame.
    let mut machine = link.machine();
    for (n, incoming) in taken.iter().enumerate() {
        if let Err(violation) = machine.received(incoming.id, Arc::clone(&incoming.handler)) {
            all = Err(violation);
            taken.truncate(n);
            break;
        }
    }
    drop(machine);
    for Incoming { id, arrived, along, handler } in taken {
        // In the order in which the peer told them: both ends forget the same ones.
        if !along.is_empty() {
            link.machine().hear(&along);
        }
        let (wants_results, deadline) = (arrived.wants_results, arrived.deadline);
        let responder = Responder::remote(Arc::clone(link), id, handler, wants_results, deadline);
        shared.receive(arrived, &along, link, responder);
    }
    all
}

fn take(
    shared: &Shared,
    envelope: &Result<Envelope<'_>, Unreadable>,
    frame: &Heard,
    texts: &mut Texts,
    now: Instant,
) -> Result<Incoming, Violation> {
    let envelope = envelope.as_ref().map_err(|_| Violation::Part)?;
    let along = along(shared, envelope, frame)?;
    let arrived = arrive(envelope, frame, texts, now).ok_or(Violation::Part)?;
    Ok(Incoming { id: envelope.id, arrived, along, handler: Arc::default() })
}

/// The functions that come with an envelope.
fn along(
    shared: &Shared,
    envelope: &Envelope<'_>,
    frame: &Heard,
) -> Result<Vec<Arc<Prototype>>, Violation> {
    if envelope.functions.is_empty() {
        return Ok(Vec::new());
    }
    functions::decode(&frame.share(envelope.functions), &shared.config.limits)
        .ok_or(Violation::Functions { id: envelope.id })
}

/// Makes of the bytes of an envelope what a stage gets. `None` if they are no text.
fn arrive(
    envelope: &Envelope<'_>,
    frame: &Heard,
    texts: &mut Texts,
    at: Instant,
) -> Option<Arrived> {
    let shared = |text: &str| Ok::<Arc<str>, Infallible>(Arc::from(text));
    let Ok(stage) = texts.stages.find(envelope.stage, shared)?;
    let Ok(origin_stage) = texts.origins.find(envelope.origin_stage, shared)?;
    Some(Arrived {
        stage,
        message: texts.messages.find(envelope.message, str::parse)?,
        origin_stage,
        args: frame.share(envelope.args),
        wants_results: envelope.wants_results,
        trace: match envelope.traceparent {
            [] => None,
            bytes => std::str::from_utf8(bytes).ok()?.parse().ok(),
        },
        at,
        deadline: Shared::deadline(at, envelope.remaining_ms),
    })
}
