//! Pages of other origins: who may come in, and what their browsers must be told so that they let them.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::gateway::Shared;
use crate::refusal::Refusal;

/// How long a browser may remember what it was told, in seconds.
const REMEMBERED: &str = "600";

/// Whether a request comes from a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// It does not.
    No,
    /// Of an origin that may come in.
    Listed,
    /// Of an origin that may not: others are listed.
    Stranger,
    /// Of some origin, and none are listed.
    Any,
}

pub(crate) fn page(headers: &HeaderMap, origins: &BTreeSet<String>) -> Page {
    let Some(origin) = headers.get(header::ORIGIN) else { return Page::No };
    let is_listed = origin.to_str().is_ok_and(|origin| origins.contains(origin));
    match (is_listed, origins.is_empty()) {
        (true, _) => Page::Listed,
        (false, false) => Page::Stranger,
        (false, true) => Page::Any,
    }
}

pub(crate) fn refusal() -> Refusal {
    let help = "add the origin to \"origins\" of #gateway, as in \"https://game.example\"";
    let detail = "pages of this origin may not come in";
    Refusal::new(StatusCode::FORBIDDEN, "origin", detail, help)
}

/// Answers a browser that asks before it sends, and tells it that its page may read the answer.
pub(crate) async fn answer(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let page = page(request.headers(), &shared.config.origins);
    let origin = request.headers().get(header::ORIGIN).cloned();
    let (Page::Listed, Some(origin)) = (page, origin) else { return next.run(request).await };
    let is_question = request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if is_question {
        (StatusCode::NO_CONTENT, permissions()).into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    response
}

fn permissions() -> [(header::HeaderName, &'static str); 3] {
    [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "POST"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type"),
        (header::ACCESS_CONTROL_MAX_AGE, REMEMBERED),
    ]
}
