//! A signal of an outside client: one call, one end.

use std::sync::Arc;
use std::time::Duration;

use stage_proto::signal::v1 as proto;
use stage_proto::signal::v1::signal_response::Outcome;
use stage_value::Value;

use super::Caller;
use crate::mesh::Shared;
use crate::outside::{OutsideSignal, malformed};
use crate::plain::{from_plain, to_plain};
use crate::stats::count;
use crate::{Failure, Reason};

/// Sends a client's signal and waits for its end.
pub(super) async fn signal(
    shared: &Arc<Shared>,
    request: proto::SignalRequest,
    caller: Option<&Caller>,
) -> Outcome {
    let sent = match admitted(shared, request) {
        Ok(signal) => shared.send_outside(signal, caller, ""),
        Err(failure) => Err(failure),
    };
    let results = match sent {
        Ok(sent) => sent.gather().await,
        Err(failure) => Err(failure),
    };
    match plain(results) {
        Ok(results) => Outcome::Results(results),
        Err(failure) => Outcome::Failure(failure.into_proto()),
    }
}

/// What a client asks for, within the limits. A node that takes nothing does not look at it.
pub(super) fn admitted(
    shared: &Shared,
    request: proto::SignalRequest,
) -> Result<OutsideSignal, Failure> {
    let trace = request.traceparent.parse().ok();
    let args = shared.admit_client().and_then(|()| {
        from_plain("args", request.args, shared.config.limits)
            .map_err(|error| Failure::new(Reason::Malformed, error.to_string()))
    });
    let timeout = Some(request.timeout_ms).filter(|ms| *ms > 0).map(Duration::from_millis);
    match args {
        Ok(args) => {
            let (address, idempotent) = (request.address, request.idempotent);
            Ok(OutsideSignal { address, args, timeout, idempotent, trace })
        }
        Err(failure) => {
            count(&shared.counters.turned_away);
            Err(failure)
        }
    }
}

/// Results as a client gets them.
pub(super) fn plain(results: Result<Vec<Value>, Failure>) -> Result<proto::Results, Failure> {
    let values = results.and_then(|results| {
        to_plain("results", &results).map_err(|error| malformed(error.to_string()))
    })?;
    Ok(proto::Results { values })
}
