//! What tonic does without STAGE: a call for each message, and a stream whose frames hold what is ready.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use stage_proto::signal::v1 as proto;
use stage_proto::signal::v1::ending::Outcome;
use stage_proto::signal::v1::signal_service_client::SignalServiceClient;
use stage_proto::signal::v1::signal_service_server::{SignalService, SignalServiceServer};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

/// The most bytes of a message, for both sides.
const MESSAGE_BYTES: usize = 16 << 20;

/// The most envelopes of a frame.
const FRAME_PARTS: usize = 1024;

type Client = SignalServiceClient<Channel>;

/// Serves the raw calls; returns where.
pub(crate) async fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    let service = SignalServiceServer::new(Echo).max_decoding_message_size(MESSAGE_BYTES);
    tokio::spawn(
        tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming),
    );
    address
}

pub(crate) async fn connect(address: &str) -> Client {
    let client = SignalServiceClient::connect(format!("http://{address}")).await.unwrap();
    client.max_decoding_message_size(MESSAGE_BYTES)
}

pub(crate) async fn unary(mut client: Client, body: Bytes) {
    let kind = Some(proto::value::Kind::Data(body));
    let args = vec![proto::Value { kind }];
    let request = proto::SignalRequest { address: "echo:echo".into(), args, ..Default::default() };
    client.signal(request).await.unwrap();
}

/// The near end of a raw stream.
pub(crate) struct RawStream {
    envelopes: mpsc::Sender<proto::Envelope>,
    waiting: Arc<Mutex<HashMap<u64, oneshot::Sender<()>>>>,
    next: AtomicU64,
}

impl RawStream {
    pub(crate) async fn open(mut client: Client) -> Self {
        let (envelopes, ready) = mpsc::channel(16_384);
        let frames = stream::unfold(ready, |mut ready| async move {
            let mut envelopes = Vec::new();
            let count = ready.recv_many(&mut envelopes, FRAME_PARTS).await;
            let frame = proto::Frame { envelopes, ..Default::default() };
            (count > 0).then_some((frame, ready))
        });
        let mut inbound = client.link(frames).await.unwrap().into_inner();
        let waiting: Arc<Mutex<HashMap<u64, oneshot::Sender<()>>>> = Arc::default();
        let ended = Arc::clone(&waiting);
        tokio::spawn(async move {
            while let Ok(Some(frame)) = inbound.message().await {
                let mut waiting = ended.lock().unwrap();
                for ending in frame.endings {
                    waiting.remove(&ending.id).unwrap().send(()).unwrap();
                }
            }
        });
        Self { envelopes, waiting, next: AtomicU64::new(1) }
    }

    pub(crate) async fn ask(&self, body: Bytes) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, ended) = oneshot::channel();
        self.waiting.lock().unwrap().insert(id, sender);
        self.envelopes.send(envelope(id, body, true)).await.unwrap();
        ended.await.unwrap();
    }

    /// Sends many that have no answer, then one that has.
    pub(crate) async fn pour(&self, count: u64, body: &Bytes) {
        for _ in 1..count {
            self.envelopes.send(envelope(0, body.clone(), false)).await.unwrap();
        }
        self.ask(body.clone()).await;
    }
}

fn envelope(id: u64, args: Bytes, wants_results: bool) -> proto::Envelope {
    let (stage, message) = ("echo".into(), "echo".into());
    proto::Envelope { id, stage, message, args, wants_results, ..Default::default() }
}

struct Echo;

#[tonic::async_trait]
impl SignalService for Echo {
    type LinkStream = Pin<Box<dyn Stream<Item = Result<proto::Frame, Status>> + Send>>;

    async fn link(
        &self,
        request: Request<Streaming<proto::Frame>>,
    ) -> Result<Response<Self::LinkStream>, Status> {
        let answer = |envelope: proto::Envelope| {
            let outcome = Some(Outcome::Results(envelope.args));
            envelope.wants_results.then_some(proto::Ending { id: envelope.id, outcome })
        };
        let answers = request.into_inner().map(move |frame| {
            let endings = frame?.envelopes.into_iter().filter_map(answer).collect();
            Ok(proto::Frame { endings, ..Default::default() })
        });
        Ok(Response::new(answers.boxed()))
    }

    type SessionStream = stream::Empty<Result<proto::SessionResponse, Status>>;

    async fn session(
        &self,
        _: Request<Streaming<proto::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        Err(Status::unimplemented("not measured"))
    }

    async fn signal(
        &self,
        request: Request<proto::SignalRequest>,
    ) -> Result<Response<proto::SignalResponse>, Status> {
        let results = proto::Results { values: request.into_inner().args };
        let outcome = Some(proto::signal_response::Outcome::Results(results));
        Ok(Response::new(proto::SignalResponse { outcome }))
    }
}
