//! The listening side: links of other nodes and signals of outside clients.

mod caller;
mod door;
mod guard;
mod known;
mod links;
mod session;
mod unary;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures_util::{Stream, stream};
use stage_proto::signal::v1 as proto;
use stage_proto::signal::v1::signal_service_server::{SignalService, SignalServiceServer};
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

pub use caller::Caller;

use crate::link::lock;
use crate::mesh::Shared;
use links::{InFront, Links};

/// The most calls that one connection may have open.
const CALLS: u32 = 1024;

/// Serves a listener until the node stops.
pub(crate) async fn serve(shared: Arc<Shared>, listener: TcpListener) {
    let stopping = shared.stopping.clone();
    let connections = door::open(Arc::clone(&shared), listener);
    let clients = SignalServiceServer::new(Service { shared: Arc::clone(&shared) })
        .max_decoding_message_size(shared.config.frame_bytes)
        .max_encoding_message_size(usize::MAX);
    let links = Links { shared: Arc::clone(&shared), refusals: Arc::default() };
    let service = InFront { links, others: clients };
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

#[tonic::async_trait]
impl SignalService for Service {
    type LinkStream = stream::Empty<Result<proto::Frame, Status>>;

    async fn link(
        &self,
        _: Request<Streaming<proto::Frame>>,
    ) -> Result<Response<Self::LinkStream>, Status> {
        Err(Status::unimplemented("links are served in front of this"))
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
