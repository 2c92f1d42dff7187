//! The connection of a node: dial, say hello, report, carry frames until it ends, wait, again.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use stage_proto::ticket::v1 as proto;
use stage_proto::ticket::v1::ticket_service_client::TicketServiceClient;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use super::dial::Dial;
use super::holder::HelloError;
use super::shared::{Over, Shared};
use super::status::Status;
use crate::wire::WireError;

/// Keeps the node connected until it closes.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut closing = shared.closing.subscribe();
    let mut dial = Dial::new(shared.config.addresses.clone(), shared.config.max_pause);
    loop {
        let address = dial.next_address();
        let connected = tokio::select! {
            connected = connect(&shared, &address) => connected,
            _ = closing.wait_for(|closing| *closing) => return,
        };
        let why = match connected {
            Ok(connection) => {
                dial.connected(&address);
                let why = serve(&shared, connection).await;
                shared.with(|state, _| {
                    state.client = None;
                    state.holder.detach();
                });
                why
            }
            Err(Problem::Elsewhere(leader)) => {
                let why = format!("{address} does not lead");
                dial.redirected(leader);
                why
            }
            Err(problem) => problem.to_string(),
        };
        if *closing.borrow() {
            return;
        }
        tracing::debug!(address, why, "no coordinator");
        shared.status.send_replace(Status::Connecting { why: Some(why) });
        tokio::select! {
            () = tokio::time::sleep(dial.pause(&mut fastrand::Rng::new())) => {}
            _ = closing.wait_for(|closing| *closing) => return,
        }
    }
}

/// A connection to a coordinator that has answered the hello and got the report.
struct Connection {
    inbound: Streaming<proto::ServerFrame>,
    silence: Duration,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("cannot connect: {0}")]
    Transport(#[from] tonic::transport::Error),
    #[error("cannot connect: {0}")]
    Connector(String),
    #[error("{0}")]
    Status(#[from] tonic::Status),
    #[error("the server does not answer")]
    Silent,
    #[error("the server does not lead, {0} does")]
    Elsewhere(String),
    #[error(transparent)]
    Hello(#[from] HelloError),
}

async fn connect(shared: &Arc<Shared>, address: &str) -> Result<Connection, Problem> {
    let patience = shared.config.patience;
    let dialling = async {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
        let endpoint = endpoint.tcp_nodelay(true).connect_timeout(patience);
        match &shared.config.connector {
            Some(connector) => connector.open(endpoint, address).await.map_err(Problem::Connector),
            None => Ok(endpoint.connect().await?),
        }
    };
    let channel = timeout(patience, dialling).await.map_err(|_| Problem::Silent)??;
    timeout(patience.max(MIN_GREETING), attach(shared, address, channel))
        .await
        .map_err(|_| Problem::Silent)?
}

/// A server that leads may have to write a new node down before it answers.
const MIN_GREETING: Duration = Duration::from_secs(3);

async fn attach(
    shared: &Arc<Shared>,
    address: &str,
    channel: Channel,
) -> Result<Connection, Problem> {
    let mut client = TicketServiceClient::new(channel)
        .max_decoding_message_size(MAX_FRAME_BYTES)
        .max_encoding_message_size(usize::MAX);
    let (name, shard) = (&shared.config.name, shared.shard);
    let (connection, hello) =
        shared.with(|state, now| (state.next_connection(), state.holder.hello(now, name, shard)));
    let (accepted, reported) = oneshot::channel();
    let frames = outbound(shared.clone(), connection, hello, reported);
    let mut inbound = client.attach(frames).await?.into_inner();
    let first = inbound.message().await?.and_then(|frame| frame.hello);
    let hello = first.ok_or(HelloError::NoTime)?;
    if !hello.leads {
        return Err(Problem::Elsewhere(hello.leader));
    }
    let report = shared.with(|state, now| {
        state.client = Some(client);
        state.holder.attach(now, &hello)
    })?;
    // The stream that waits for the report lives as long as the call.
    let _ = accepted.send(report);
    let address = address.to_owned();
    shared.status.send_replace(Status::Attached { address, epoch: hello.epoch });
    Ok(Connection { inbound, silence: Duration::from_nanos(hello.silence_ns) })
}

/// The most bytes of a frame that is read.
const MAX_FRAME_BYTES: usize = 64 << 20;

/// The hello, the report once the server has accepted the hello, then whatever there is to send.
fn outbound(
    shared: Arc<Shared>,
    connection: u64,
    hello: proto::ClientFrame,
    reported: oneshot::Receiver<proto::ClientFrame>,
) -> impl Stream<Item = proto::ClientFrame> {
    let start = (Some(hello), Some(reported), shared);
    stream::unfold(start, move |(hello, reported, shared)| async move {
        if let Some(hello) = hello {
            return Some((hello, (None, reported, shared)));
        }
        if let Some(reported) = reported {
            return Some((reported.await.ok()?, (None, None, shared)));
        }
        let mut closing = shared.closing.subscribe();
        loop {
            match shared.take_frame(connection) {
                Ok(Some(frame)) => return Some((frame, (None, None, shared))),
                Ok(None) => {}
                Err(Over) => {
                    // What woke this connection was meant for the next one.
                    shared.outgoing.notify_one();
                    return None;
                }
            }
            tokio::select! {
                biased;
                () = shared.outgoing.notified() => {}
                _ = closing.wait_for(|closing| *closing) => return None,
            }
        }
    })
}

/// Takes in frames until the connection ends, and tells why it did.
async fn serve(shared: &Shared, mut connection: Connection) -> String {
    let silence = connection.silence.max(Duration::from_millis(40));
    let mut heard = Instant::now();
    let mut beat = tokio::time::interval(silence / 4);
    loop {
        tokio::select! {
            frame = connection.inbound.message() => {
                heard = Instant::now();
                match frame {
                    Ok(Some(frame)) => {
                        if let Err(error) = take_in(shared, frame) {
                            return format!("the server broke the protocol: {error}");
                        }
                    }
                    Ok(None) => return "the server ended the stream".to_owned(),
                    Err(status) => return status.to_string(),
                }
            }
            _ = beat.tick() => {
                if heard.elapsed() > silence {
                    return "the server fell silent".to_owned();
                }
                shared.with(|state, now| state.holder.beat(now));
            }
        }
    }
}

fn take_in(shared: &Shared, frame: proto::ServerFrame) -> Result<(), WireError> {
    shared.with(|state, now| state.holder.receive(now, frame))
}
