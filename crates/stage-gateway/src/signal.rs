//! `POST /v1/signal/STAGE:CALLBACK`: one signal, and its results as a JSON array.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use stage_value::Value;
use tokio::time::timeout;

use crate::gateway::{Shared, permit};
use crate::json::to_json;
use crate::refusal::Refusal;
use crate::request::{Asked, Terms, args_of, stage_of, terms_of};
use crate::stats::count;

pub(crate) async fn post(
    State(shared): State<Arc<Shared>>,
    Path(address): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match answer(&shared, address, query.as_deref(), &headers, body).await {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(refusal) => {
            count(&shared.counters.refused);
            refusal.into_response()
        }
    }
}

/// The cheap refusals come first: nothing of the body is read for those who may not send it.
async fn answer(
    shared: &Shared,
    address: String,
    query: Option<&str>,
    headers: &HeaderMap,
    body: Body,
) -> Result<String, Refusal> {
    let client = shared.authorise(headers)?;
    shared.take(&client)?;
    let stage = stage_of(&address)?;
    permit(&client, &stage)?;
    let Terms { timeout, idempotent } = terms_of(query)?;
    let most = shared.config.in_flight;
    let _under_way = shared.in_flight.try_acquire().map_err(|_| {
        Refusal::busy("overloaded", format!("{most} requests of the gateway are unfinished"))
    })?;
    let args = args_of(&read(shared, body).await?)?;
    let signal = shared.outside(Asked { address, stage, args, timeout, idempotent });
    let results = shared.mesh.send_outside(signal).await?;
    results_of(&results).map(|json| json.to_string())
}

/// Results as a JSON array.
pub(crate) fn results_of(results: &[Value]) -> Result<serde_json::Value, Refusal> {
    results.iter().map(to_json).collect::<Result<_, _>>().map_err(|error| {
        let help = "the handler has run; let it return what JSON can hold";
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "results", error.to_string(), help)
    })
}

async fn read(shared: &Shared, body: Body) -> Result<Vec<u8>, Refusal> {
    let most = shared.config.body_bytes;
    let reading = Limited::new(body, most).collect();
    match timeout(shared.config.read_timeout, reading).await {
        Ok(Ok(body)) => Ok(body.to_bytes().into()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let help = "send less, or have \"body_bytes\" of #gateway raised";
            let detail = format!("the body has more than {most} bytes");
            Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail, help))
        }
        Ok(Err(error)) => Err(Refusal::malformed(format!("the body: {error}"))),
        Err(_) => {
            let help = "send the body without pauses";
            let detail = "the body did not come in time";
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "slow", detail, help))
        }
    }
}
