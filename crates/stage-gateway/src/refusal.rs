//! Errors as clients see them: a status, and JSON with a code, what happened and what to do.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json, json};
use stage_signal::{Failure, Reason};

const USAGE: &str = "POST /v1/signal/STAGE:CALLBACK with a JSON array of arguments";

/// Why a request has no results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    code: &'static str,
    detail: String,
    help: &'static str,
    retry_after: Option<Duration>,
}

impl Refusal {
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<String>,
        help: &'static str,
    ) -> Self {
        Self { status, code, detail: detail.into(), help, retry_after: None }
    }

    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", detail, USAGE)
    }

    /// A path or a method that nothing here has.
    pub(crate) fn unknown(status: StatusCode, detail: &'static str) -> Self {
        Self::new(status, "unknown", detail, USAGE)
    }

    pub(crate) fn busy(code: &'static str, detail: impl Into<String>) -> Self {
        let help = "nothing was started; try again after a while";
        let retry_after = Some(Duration::from_secs(1));
        Self { retry_after, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail, help) }
    }

    pub(crate) fn too_often(wait: Duration) -> Self {
        let help = "wait as long as Retry-After says, or have \"rate\" of #gateway raised";
        let detail = "this client has used up its signals of this second";
        Self {
            retry_after: Some(wait),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "rate", detail, help)
        }
    }

    /// The body of the response, and what sessions send.
    pub(crate) fn to_json(&self) -> Json {
        json!({ "code": self.code, "detail": self.detail, "help": self.help })
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let (status, help) = match failure.reason {
            Reason::NoStage | Reason::NoHandler => {
                (StatusCode::NOT_FOUND, "check the name of the stage and of the callback")
            }
            Reason::Denied => (StatusCode::FORBIDDEN, "ask who runs the node to allow it"),
            Reason::Overloaded | Reason::Refused | Reason::Stopping => {
                return Self::busy(failure.reason.as_str(), failure.detail);
            }
            Reason::Deadline => {
                (StatusCode::GATEWAY_TIMEOUT, "the handler may have run; raise ?timeout_ms=")
            }
            Reason::LinkLost => (
                StatusCode::BAD_GATEWAY,
                "the handler may have run; repeat only what may run twice",
            ),
            Reason::Malformed => (StatusCode::BAD_REQUEST, "correct the address or the arguments"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "the handler failed; see the log of its node"),
        };
        Self::new(status, failure.reason.as_str(), failure.detail, help)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({ "error": self.to_json() }).to_string();
        let json = HeaderValue::from_static("application/json");
        let mut response = (self.status, [(header::CONTENT_TYPE, json)], body).into_response();
        let headers = response.headers_mut();
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_the_status_that_tells_whether_to_try_again() {
        let status = |reason| Refusal::from(Failure::new(reason, "")).status.as_u16();
        let expected = [404, 404, 503, 503, 504, 502, 500, 400, 500, 503, 403];
        assert_eq!(Reason::ALL.map(status), expected);
    }

    #[test]
    fn the_time_to_wait_is_rounded_up_to_whole_seconds() {
        let after = |wait| {
            let response = Refusal::too_often(wait).into_response();
            response.headers()[header::RETRY_AFTER].to_str().unwrap().to_owned()
        };
        assert_eq!(after(Duration::from_millis(1)), "1");
        assert_eq!(after(Duration::from_millis(1500)), "2");
    }
}
