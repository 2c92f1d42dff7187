//! The listening side: links of other nodes and signals of outside clients.

mod caller;
mod door;
mod guard;
mod known;
mod session;
mod unary;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures_util::{Stream, StreamExt as _, future, stream};
use stage_proto::signal::v1 as proto;
use stage_proto::signal::v1::signal_service_server::{SignalService, SignalServiceServer};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

pub use caller::Caller;

use crate::link::hello::{Refusal, read_hello, refusal_frame};
use crate::link::lock;
use crate::link::outbound::Outbound;
use crate::link::reader::read;
use crate::mesh::Shared;
use crate::stats::count;

/// The most calls that one connection may have open.
const CALLS: u32 = 1024;

/// Serves a listener until the node stops.
pub(crate) async fn serve(shared: Arc<Shared>, listener: TcpListener) {
    let stopping = shared.stopping.clone();
    let connections = door::open(Arc::clone(&shared), listener);
    let service = SignalServiceServer::new(Service {
        shared: Arc::clone(&shared),
        refusals: Refusals::default(),
    })
    .max_decoding_message_size(shared.config.frame_bytes)
    .max_encoding_message_size(usize::MAX);
    let beside = lock(&shared.beside).clone();
    let routes = known::add(beside, &stopping).add_service(service);
    let served = Server::builder()
        .http2_keepalive_interval(Some(shared.config.keep_alive))
        .http2_keepalive_timeout(Some(shared.config.keep_alive_timeout))
        .max_concurrent_streams(CALLS)
        .layer(guard::layer(shared.config.allow.clone()))
        .add_routes(routes)
        .serve_with_incoming_shutdown(connections, stopping.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the listener failed");
    }
}

struct Service {
    shared: Arc<Shared>,
    refusals: Refusals,
}

/// The refusals that were logged last: a node that dials again is not logged again.
#[derive(Default)]
struct Refusals(Mutex<VecDeque<String>>);

impl Refusals {
    /// How many different refusals are remembered.
    const KEPT: usize = 64;

    fn is_news(&self, text: &str) -> bool {
        let mut kept = lock(&self.0);
        if kept.iter().any(|other| other == text) {
            return false;
        }
        if kept.len() == Self::KEPT {
            kept.pop_front();
        }
        kept.push_back(text.to_owned());
        true
    }
}

type Frames = Pin<Box<dyn Stream<Item = Result<proto::Frame, Status>> + Send>>;

#[tonic::async_trait]
impl SignalService for Service {
    type LinkStream = Frames;

    async fn link(
        &self,
        request: Request<Streaming<proto::Frame>>,
    ) -> Result<Response<Frames>, Status> {
        let caller = request.extensions().get::<Caller>().cloned();
        let from = caller.as_ref().map_or_else(String::new, |caller| caller.address.to_string());
        let certified = caller.and_then(|caller| caller.certified);
        let mut inbound = request.into_inner();
        let patience = self.shared.config.hello_timeout;
        let first = match timeout(patience, inbound.message()).await {
            Ok(Ok(Some(first))) => first,
            Ok(Ok(None)) => return Err(self.reject(&from, "it closed the link without a hello")),
            Ok(Err(status)) => return Err(self.reject(&from, status.message())),
            Err(_) => return Err(self.reject(&from, &format!("no hello within {patience:?}"))),
        };
        let hello = self.shared.hello();
        let met = read_hello(first, &self.shared.identity)
            .and_then(|peer| self.shared.meet(peer, false, certified));
        Ok(Response::new(match met {
            Ok(link) => {
                // Whatever was wrong with it before would be news again.
                lock(&self.refusals.0).clear();
                tokio::spawn(read(Arc::clone(&self.shared), Arc::clone(&link), inbound));
                Outbound::new(Arc::clone(&self.shared), link, Some(hello)).map(Ok).boxed()
            }
            Err(refusal) => {
                self.refuse(&from, &refusal);
                stream::once(future::ready(Ok(refusal_frame(hello, &refusal)))).boxed()
            }
        }))
    }

    type SessionStream = Pin<Box<dyn Stream<Item = Result<proto::SessionResponse, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<proto::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let caller = request.extensions().get::<Caller>().cloned();
        let visit = session::Visit::new(Arc::clone(&self.shared), caller, request.into_inner())?;
        Ok(Response::new(Box::pin(visit.into_stream())))
    }

    async fn signal(
        &self,
        request: Request<proto::SignalRequest>,
    ) -> Result<Response<proto::SignalResponse>, Status> {
        let caller = request.extensions().get::<Caller>().cloned();
        let outcome = unary::signal(&self.shared, request.into_inner(), caller.as_ref()).await;
        Ok(Response::new(proto::SignalResponse { outcome: Some(outcome) }))
    }
}

impl Service {
    /// A stranger whose first frame makes no sense.
    fn reject(&self, from: &str, what: &str) -> Status {
        count(&self.shared.counters.links_refused);
        self.shared.complain(from, what);
        Status::invalid_argument(format!("no link: {what}"))
    }

    fn refuse(&self, from: &str, refusal: &Refusal) {
        match refusal {
            // Two nodes that dial each other, and a node in its own list, are in good order.
            Refusal::Duplicate { .. } | Refusal::Oneself => {
                tracing::debug!(from, "{refusal}");
            }
            _ => {
                count(&self.shared.counters.links_refused);
                let text = format!("a link was refused: {refusal}");
                if self.refusals.is_news(&text) {
                    self.shared.complain(from, &text);
                }
            }
        }
    }
}
