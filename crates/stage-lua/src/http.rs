//! Requests of scripts to other services.

mod counts;
mod redirects;

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response, Url};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(crate) use counts::Counts;
pub use counts::RequestStats;
use counts::UnderWay;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("'{0}' is no address of the web: it begins with http:// or https://")]
    Url(String),
    #[error("'{0}' is no method")]
    Method(String),
    #[error(
        "the header '{0}' cannot be sent: names are letters, digits and -, values have no line ends"
    )]
    Header(String),
    #[error("the header '{0}' is not for scripts to set: it follows from the body")]
    OfBody(HeaderName),
    #[error(
        "no answer within {} ms; give more seconds as timeout, if the service may take longer",
        .0.as_millis()
    )]
    Timeout(Duration),
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("the server's certificate is not trusted: {0}")]
    Tls(String),
    #[error(
        "the server's certificate is not trusted ({0}): no certificate authorities were found on this machine; its package ca-certificates brings them, or SSL_CERT_FILE names a file of them"
    )]
    NoAuthorities(String),
    #[error("a redirect is not followed: {0}")]
    Redirect(String),
    #[error(
        "the answer has more than {0} bytes; read it in pieces with stream, or raise max_bytes, which counts up to args_bytes of #limits"
    )]
    TooLarge(usize),
    #[error(
        "{IN_FLIGHT} requests of this node are under way already; try again when some have ended, which a shorter timeout makes them do sooner"
    )]
    Busy,
    #[error("the exchange broke off: {0}")]
    Protocol(String),
    #[error("the node is stopping")]
    Stopping,
}

impl HttpError {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Url(_) => Kind::Url,
            Self::Method(_) | Self::Header(_) | Self::OfBody(_) => Kind::Request,
            Self::Timeout(_) => Kind::Timeout,
            Self::Connect(_) => Kind::Connect,
            Self::Tls(_) | Self::NoAuthorities(_) => Kind::Tls,
            Self::Redirect(_) => Kind::Redirect,
            Self::TooLarge(_) => Kind::TooLarge,
            Self::Busy => Kind::Busy,
            Self::Protocol(_) => Kind::Protocol,
            Self::Stopping => Kind::Stopping,
        }
    }
}

/// What scripts branch on, and failures are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Url,
    Request,
    Timeout,
    Connect,
    Tls,
    Redirect,
    TooLarge,
    Busy,
    Protocol,
    Stopping,
}

impl Kind {
    /// In the order of their declaration.
    const ALL: [Self; 10] = [
        Self::Url,
        Self::Request,
        Self::Timeout,
        Self::Connect,
        Self::Tls,
        Self::Redirect,
        Self::TooLarge,
        Self::Busy,
        Self::Protocol,
        Self::Stopping,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Url => "url",
            Self::Request => "request",
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Redirect => "redirect",
            Self::TooLarge => "too_large",
            Self::Busy => "busy",
            Self::Protocol => "protocol",
            Self::Stopping => "stopping",
        }
    }
}

/// Requests of a node at a time.
const IN_FLIGHT: usize = 1024;

/// What a script asks for.
#[derive(Debug)]
pub(crate) struct Request {
    method: Method,
    url: Url,
    headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Of the whole exchange; of a streamed answer, until it begins.
    pub(crate) timeout: Duration,
    pub(crate) follow: bool,
}

impl Request {
    pub(crate) fn new(method: &str, url: &str) -> Result<Self, HttpError> {
        let name = method.to_ascii_uppercase();
        let method = Method::from_bytes(name.as_bytes())
            .map_err(|_| HttpError::Method(method.chars().take(40).collect()))?;
        let shown = || url.split(['?', '@']).next().unwrap_or_default().chars().take(200).collect();
        let url = Url::parse(url).map_err(|_| HttpError::Url(shown()))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(HttpError::Url(shown()));
        }
        let headers = HeaderMap::new();
        let timeout = Duration::from_secs(5);
        Ok(Self { method, url, headers, body: Bytes::new(), timeout, follow: true })
    }

    pub(crate) fn header(&mut self, name: &str, value: &[u8]) -> Result<(), HttpError> {
        let refused = || HttpError::Header(name.chars().take(60).collect());
        let key = HeaderName::try_from(name).map_err(|_| refused())?;
        let value = HeaderValue::from_bytes(value).map_err(|_| refused())?;
        // Two messages, or none, could be read from what says another length than it has.
        if key == CONTENT_LENGTH || key == TRANSFER_ENCODING {
            return Err(HttpError::OfBody(key));
        }
        self.headers.insert(key, value);
        Ok(())
    }

    /// Adds a header if the script has given none of that name.
    pub(crate) fn default_header(&mut self, name: HeaderName, value: &'static str) {
        self.headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// The beginning of an answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    rest: Response,
    _place: Place,
}

/// A place among the requests under way.
struct Place {
    _counted: UnderWay,
    _permit: OwnedSemaphorePermit,
}

impl Answer {
    /// The next piece of the body; `None` behind the last one.
    pub(crate) async fn chunk(&mut self, timeout: Duration) -> Result<Option<Bytes>, HttpError> {
        match tokio::time::timeout(timeout, self.rest.chunk()).await {
            Ok(chunk) => chunk.map_err(of_client),
            Err(_) => Err(HttpError::Timeout(timeout)),
        }
    }

    async fn body(&mut self, most: usize) -> Result<Bytes, HttpError> {
        let promised = self.rest.content_length().unwrap_or(0);
        if promised > most as u64 {
            return Err(HttpError::TooLarge(most));
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = self.rest.chunk().await.map_err(of_client)? {
            if body.len() + chunk.len() > most {
                return Err(HttpError::TooLarge(most));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }
}

/// The connections of a node to other services.
#[derive(Clone)]
pub(crate) struct Http {
    /// Follows redirects to wherever they lead.
    following: Client,
    /// Follows those that stay within an origin.
    within: Client,
    staying: Client,
    /// Whether the machine has certificates that others are trusted by.
    has_authorities: bool,
    permits: Arc<Semaphore>,
    counts: Arc<Counts>,
}

impl Http {
    /// Reads the certificates that the machine trusts.
    pub(crate) fn new(counts: Arc<Counts>) -> Result<Self, HttpError> {
        let roots = authorities();
        let has_authorities = !roots.is_empty();
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| HttpError::Tls(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            following: client(tls.clone(), redirects::followed(false))?,
            within: client(tls.clone(), redirects::followed(true))?,
            staying: client(tls, Policy::none())?,
            has_authorities,
            permits: Arc::new(Semaphore::new(IN_FLIGHT)),
            counts,
        })
    }

    /// Sends a request and reads the beginning of its answer.
    pub(crate) async fn begin(&self, request: Request) -> Result<Answer, HttpError> {
        let timeout = request.timeout;
        let answer = self.exchange(request);
        tokio::time::timeout(timeout, answer).await.unwrap_or(Err(HttpError::Timeout(timeout)))
    }

    /// Sends a request and reads its whole answer, of which the body has at most so many bytes.
    pub(crate) async fn whole(
        &self,
        request: Request,
        most: usize,
    ) -> Result<(Answer, Bytes), HttpError> {
        let timeout = request.timeout;
        let whole = async {
            let mut answer = self.exchange(request).await?;
            let body = answer.body(most).await?;
            Ok((answer, body))
        };
        tokio::time::timeout(timeout, whole).await.unwrap_or(Err(HttpError::Timeout(timeout)))
    }

    async fn exchange(&self, request: Request) -> Result<Answer, HttpError> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().map_err(|_| HttpError::Busy)?;
        let place = Place { _counted: UnderWay::begin(&self.counts), _permit: permit };
        let carries = !request.headers.is_empty() || !request.body.is_empty();
        let client = match (request.follow, carries) {
            (false, _) => &self.staying,
            (true, true) => &self.within,
            (true, false) => &self.following,
        };
        let Request { method, url, headers, body, .. } = request;
        let sent = client.request(method, url).headers(headers).body(body).send().await;
        let rest = sent.map_err(|error| match of_client(error) {
            HttpError::Tls(why) if !self.has_authorities => HttpError::NoAuthorities(why),
            error => error,
        })?;
        let (status, headers) = (rest.status().as_u16(), rest.headers().clone());
        Ok(Answer { status, headers, rest, _place: place })
    }
}

/// The certificates that the machine trusts others by.
fn authorities() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        tracing::warn!(%error, "certificate authorities of this machine cannot be read");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    roots
}

fn client(tls: ClientConfig, redirects: Policy) -> Result<Client, HttpError> {
    Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(redirects)
        // It would tell the next server of the address before, with all that its query holds.
        .referer(false)
        .no_proxy()
        .user_agent(concat!("stage/", env!("CARGO_PKG_VERSION")))
        .pool_idle_timeout(Duration::from_secs(30))
        .pool_max_idle_per_host(32)
        .build()
        .map_err(|error| HttpError::Protocol(error.to_string()))
}

/// What a failure means; addresses may hold secrets and are left out.
fn of_client(error: reqwest::Error) -> HttpError {
    let error = error.without_url();
    let mut reasons = Vec::new();
    let mut source = error.source();
    let mut is_tls = false;
    while let Some(reason) = source {
        is_tls |= wraps_tls(reason);
        reasons.push(reason.to_string());
        source = reason.source();
    }
    let why = reasons.pop().unwrap_or_else(|| error.to_string());
    match () {
        () if is_tls => HttpError::Tls(why),
        () if error.is_redirect() => HttpError::Redirect(why),
        () if error.is_connect() => HttpError::Connect(why),
        () => HttpError::Protocol(why),
    }
}

/// Errors of input and output may hold one of TLS, several layers deep.
fn wraps_tls(mut reason: &(dyn std::error::Error + 'static)) -> bool {
    while let Some(inner) = reason.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref()) {
        reason = inner;
    }
    reason.is::<rustls::Error>()
}

#[cfg(test)]
mod tests;
