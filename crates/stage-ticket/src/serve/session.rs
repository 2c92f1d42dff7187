use std::sync::Arc;

use futures_util::{Stream, stream};
use stage_proto::ticket::v1 as proto;
use tokio::sync::Notify;
use tokio::time::timeout;
use tonic::{Status, Streaming};

use super::hub::Hub;
use super::office::{Office, Standing};
use super::state::{Ended, Seat};
use crate::coordinator::NodeId;
use crate::wire::{self, VERSION, WireError};

/// Answers the hello of a node and serves it until its stream ends, or this server's term does.
pub(super) async fn open(
    offices: &[Arc<Office>],
    mut inbound: Streaming<proto::ClientFrame>,
    patience: std::time::Duration,
) -> Result<impl Stream<Item = Result<proto::ServerFrame, Status>> + use<>, Status> {
    let first = timeout(patience, inbound.message())
        .await
        .map_err(|_| Status::deadline_exceeded("no hello"))??;
    let hello = first.and_then(|frame| frame.hello);
    let hello = hello.ok_or_else(|| Status::invalid_argument("the first frame has no hello"))?;
    if hello.protocol_version != VERSION {
        let why = format!("version {} of the protocol, not {VERSION}", hello.protocol_version);
        return Err(Status::failed_precondition(why));
    }
    let node = NodeId(hello.node);
    if node == super::NOBODY {
        return Err(Status::invalid_argument("a node of number 0"));
    }
    wire::node_name(&hello.name).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let (hub, first) = match office(offices, hello.shard)?.standing() {
        Standing::Following { leader } => (None, refusal(leader)),
        // A node that has promised itself to a later epoch knows better than this server.
        Standing::Leading(hub) if hub.epoch() < hello.promised => (None, refusal(String::new())),
        Standing::Leading(hub) => {
            let greeting = greeting(&hub, hello.heartbeat.unwrap_or_default());
            let (seat, wake) =
                hub.attach(node, hello.name.into()).await.map_err(|ended| status(&ended))?;
            tokio::spawn(read(hub.clone(), seat, inbound));
            (Some((hub, seat, wake)), greeting)
        }
    };
    Ok(outbound(first, hub))
}

/// Where a shard is counted, if this server has as many of them.
pub(super) fn office(
    offices: &[Arc<Office>],
    shard: Option<proto::Shard>,
) -> Result<&Office, Status> {
    let shard = wire::shard(shard).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let (wanted, here) = (shard.of().count(), offices.len());
    if usize::try_from(wanted) != Ok(here) {
        return Err(Status::failed_precondition(format!(
            "this server counts tickets in {here} shards, not {wanted}: give all the same number"
        )));
    }
    // The shard is one of as many.
    offices
        .get(shard.index() as usize)
        .map(|office| &**office)
        .ok_or_else(|| Status::invalid_argument("no such shard"))
}

fn refusal(leader: String) -> proto::ServerHello {
    proto::ServerHello { protocol_version: VERSION, leader, ..proto::ServerHello::default() }
}

fn greeting(hub: &Hub, heartbeat: proto::Heartbeat) -> proto::ServerHello {
    let rules = &hub.config.tickets.rules;
    let echo = proto::HeartbeatEcho { sent_ns: heartbeat.sent_ns, server_ns: hub.now().0 };
    proto::ServerHello {
        protocol_version: VERSION,
        leads: true,
        leader: String::new(),
        epoch: hub.epoch(),
        echo: Some(echo),
        grant_ns: wire::nanos(rules.grant),
        max_grant_ns: wire::nanos(rules.max_grant),
        frame_bytes: hub.config.frame_bytes,
        node_requests: hub.config.node_requests,
        silence_ns: wire::nanos(hub.config.silence),
    }
}

/// The hello, and then a frame whenever there is something to tell.
fn outbound(
    hello: proto::ServerHello,
    served: Option<(Arc<Hub>, Seat, Arc<Notify>)>,
) -> impl Stream<Item = Result<proto::ServerFrame, Status>> {
    let first = proto::ServerFrame { hello: Some(hello), ..proto::ServerFrame::default() };
    stream::unfold((Some(first), served), |(first, served)| async move {
        if let Some(first) = first {
            return Some((Ok(first), (None, served)));
        }
        let (hub, seat, wake) = served?;
        loop {
            match hub.take(seat) {
                Ok(Some(frame)) => return Some((Ok(frame), (None, Some((hub, seat, wake))))),
                Ok(None) => wake.notified().await,
                Err(ended) => return Some((Err(status(&ended)), (None, None))),
            }
        }
    })
}

async fn read(hub: Arc<Hub>, seat: Seat, mut inbound: Streaming<proto::ClientFrame>) {
    if let Err(ended) = serve(&hub, seat, &mut inbound).await {
        tracing::warn!(node = seat.node.0, %ended, "ticket stream ended");
    }
    hub.detach(seat);
}

async fn serve(
    hub: &Hub,
    seat: Seat,
    inbound: &mut Streaming<proto::ClientFrame>,
) -> Result<(), Ended> {
    let Some(second) = next(hub, inbound).await else { return Ok(()) };
    let report = second.report.ok_or(WireError::Missing("report"))?;
    hub.report(seat, wire::report(seat.node, report)?, &second.uses)?;
    while let Some(frame) = next(hub, inbound).await {
        hub.frame(seat, frame)?;
    }
    Ok(())
}

/// The next frame; none when the stream is over, broken, or silent for too long.
async fn next(
    hub: &Hub,
    inbound: &mut Streaming<proto::ClientFrame>,
) -> Option<proto::ClientFrame> {
    timeout(hub.config.silence, inbound.message()).await.ok()?.ok()?
}

pub(super) fn status(ended: &Ended) -> Status {
    let text = ended.to_string();
    match ended {
        Ended::Malformed(_) | Ended::TooManyRequests => Status::invalid_argument(text),
        Ended::TooManyNodes | Ended::Overfull => Status::resource_exhausted(text),
        Ended::Unseated => Status::aborted(text),
        Ended::Closed => Status::unavailable(text),
    }
}
