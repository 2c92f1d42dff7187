//! The operator's surface: health, readiness and state over HTTP, and a page that shows them.

mod metrics;
mod page;
mod profile;
mod route;
mod state;
mod tickets;

use std::future::Future;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;

use crate::config::Token;
use crate::node::Shared;

pub use crate::bottleneck::{Bottleneck, Kind as BottleneckKind};
pub use profile::{LONGEST_PROFILE, ProfileView};
pub use route::{ChangeState, RouteState, WindowState};
pub use state::{
    DatabaseState, HttpState, KeyState, PeerState, QueueState, StateView, VariablesState,
};
pub use tickets::{CoordinatorState, CountingState, HolderState, TicketState};

/// Serves the surface until the shutdown ends.
pub(crate) async fn serve(
    listener: TcpListener,
    token: Option<Token>,
    shared: Arc<Shared>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let guarded = Router::new()
        .route("/api/state", get(api_state))
        .route("/api/route", get(route::windows))
        .route("/api/profile", get(profile::take))
        .route("/metrics", get(metrics::metrics))
        .layer(middleware::from_fn_with_state(token, authorise));
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readiness))
        .merge(page::files())
        .merge(guarded)
        .with_state(shared);
    let served = axum::serve(listener, router).with_graceful_shutdown(shutdown).await;
    if let Err(error) = served {
        tracing::error!(%error, "the operator's surface ended");
    }
}

async fn api_state(State(shared): State<Arc<Shared>>) -> Json<StateView> {
    Json(StateView::of(&shared).await)
}

/// Whether the node takes signals: from the start of its scripts until it is told to stop.
async fn readiness(State(shared): State<Arc<Shared>>) -> Response {
    if shared.standing.is_stopping() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    "ready\n".into_response()
}

/// Lets requests through that show the token, if there is one.
async fn authorise(State(token): State<Option<Token>>, request: Request, next: Next) -> Response {
    let Some(token) = token else { return next.run(request).await };
    let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if shown
        .and_then(|shown| shown.strip_prefix("Bearer "))
        .is_some_and(|it| same(it, token.secret()))
    {
        return next.run(request).await;
    }
    let help = "this needs the header 'Authorization: Bearer TOKEN' with the token of #admin\n";
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], help).into_response()
}

/// Compares in a time that does not tell how much is right.
fn same(shown: &str, secret: &str) -> bool {
    let differences = shown.bytes().zip(secret.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
    shown.len() == secret.len() && differences == 0
}
