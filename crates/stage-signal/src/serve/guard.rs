//! The guard in front of all services of the port: it turns calls away by their head alone.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tower_layer::{Layer, layer_fn};
use tower_service::Service;

use super::Caller;
use crate::Policy;

/// What outside clients call; everything else is for nodes.
const FOR_CLIENTS: [&str; 3] =
    ["/stage.signal.v1.SignalService/Signal", "/stage.signal.v1.SignalService/Session", "/grpc."];

/// Guards services by a policy; without one all calls pass.
pub(super) fn layer<S>(policy: Option<Policy>) -> impl Layer<S, Service = Guard<S>> + Clone {
    let policy = policy.map(Arc::new);
    layer_fn(move |service| Guard { service, policy: policy.clone() })
}

#[derive(Clone)]
pub(super) struct Guard<S> {
    service: S,
    policy: Option<Arc<Policy>>,
}

impl<S, B> Service<Request<B>> for Guard<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.policy.as_deref().map_or(Ok(()), |policy| judge(policy, &request)) {
            Ok(()) => Box::pin(self.service.call(request)),
            Err(status) => Box::pin(std::future::ready(Ok(status.into_http()))),
        }
    }
}

fn judge<B>(policy: &Policy, request: &Request<B>) -> Result<(), Status> {
    let who = request.extensions().get::<Caller>().and_then(Caller::identity).unwrap_or_default();
    let Some(rule) = policy.rule(who) else {
        return Err(Status::permission_denied(format!(
            "this node's #allow has no rule for '{who}'"
        )));
    };
    let path = request.uri().path();
    if rule.link || FOR_CLIENTS.iter().any(|start| path.starts_with(start)) {
        return Ok(());
    }
    Err(Status::permission_denied(format!("this node's #allow does not let '{who}' link")))
}
