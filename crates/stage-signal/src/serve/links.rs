//! The call by which other nodes link, in front of the service that answers outside clients.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::{FutureExt as _, Stream, StreamExt as _, future, stream};
use tokio::time::timeout;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use tower_service::Service;

use super::{Caller, Refusals};
use crate::link::codec::{self, FrameCodec};
use crate::link::frame::Frame;
use crate::link::heard::Heard;
use crate::link::hello::{Refusal, read_hello, refusal_frame};
use crate::link::lock;
use crate::link::outbound::Outbound;
use crate::link::reader::read;
use crate::mesh::Shared;
use crate::stats::count;

/// Takes the calls of nodes and leaves all others to the service behind it.
#[derive(Clone)]
pub(super) struct InFront<S> {
    pub(super) links: Links,
    pub(super) others: S,
}

impl<S: NamedService> NamedService for InFront<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for InFront<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.others.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != codec::PATH {
            return self.others.call(request).boxed();
        }
        let links = self.links.clone();
        async move {
            let mut call = Grpc::new(FrameCodec)
                .max_decoding_message_size(links.shared.config.frame_bytes)
                .max_encoding_message_size(usize::MAX);
            Ok(call.streaming(links, request).await)
        }
        .boxed()
    }
}

/// The accepting end of links.
#[derive(Clone)]
pub(super) struct Links {
    pub(super) shared: Arc<Shared>,
    pub(super) refusals: Arc<Refusals>,
}

type Frames = Pin<Box<dyn Stream<Item = Result<Frame, Status>> + Send>>;

impl StreamingService<Heard> for Links {
    type Response = Frame;
    type ResponseStream = Frames;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Frames>, Status>> + Send>>;

    fn call(&mut self, request: Request<Streaming<Heard>>) -> Self::Future {
        self.clone().link(request).boxed()
    }
}

impl Links {
    async fn link(self, request: Request<Streaming<Heard>>) -> Result<Response<Frames>, Status> {
        let caller = request.extensions().get::<Caller>().cloned();
        let from = caller.as_ref().map_or_else(String::new, |caller| caller.address.to_string());
        let certified = caller.and_then(|caller| caller.certified);
        let mut inbound = request.into_inner();
        let patience = self.shared.config.hello_timeout;
        let first = match timeout(patience, inbound.message()).await {
            Ok(Ok(Some(first))) => first.small,
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
                let answer = refusal_frame(hello, &refusal).into();
                stream::once(future::ready(Ok(answer))).boxed()
            }
        }))
    }

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
