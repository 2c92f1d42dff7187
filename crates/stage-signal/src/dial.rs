//! Keeping a link to a configured address: dial, say hello, read until it ends, wait, again.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _, future, stream};
use stage_proto::signal::v1 as proto;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

use crate::discovery::Target;
use crate::link::Link;
use crate::link::codec::{self, FrameCodec};
use crate::link::frame::Frame;
use crate::link::heard::Heard;
use crate::link::hello::{Refusal, read_hello};
use crate::link::outbound::Outbound;
use crate::link::reader::read;
use crate::mesh::Shared;
use crate::peers::Dial;
use crate::stats::count;
use crate::tls::Certified;

/// Keeps a link to an address until the node stops or the address is given up. A link that is up
/// then stays until it breaks.
pub(crate) async fn keep(shared: Arc<Shared>, target: Target, given_up: CancellationToken) {
    let address = Arc::clone(&target.address);
    let mut pause = Pause::new(shared.config.redial_min, shared.config.redial_max);
    shared.peers.note(&address, Dial::Connecting);
    while !shared.stopping.is_cancelled() && !given_up.is_cancelled() {
        match dial(&shared, &target).await {
            Ok((link, inbound)) => {
                let name = Arc::clone(&link.peer.name);
                shared.peers.note(&address, Dial::Linked(Arc::clone(&name)));
                let begun = Instant::now();
                read(Arc::clone(&shared), link, inbound).await;
                // One that takes links and ends them at once is not dialled as if it were in good order.
                if begun.elapsed() >= shared.config.redial_max {
                    pause.reset();
                }
                shared.peers.gone(&name).await;
            }
            Err(Problem::Refused(Refusal::Oneself, _)) => {
                shared.peers.note(&address, Dial::Oneself);
                return;
            }
            Err(problem) => report(&shared, &address, problem).await,
        }
        tokio::select! {
            () = sleep(pause.next(&mut fastrand::Rng::new())) => {}
            () = shared.stopping.cancelled() => {}
            () = given_up.cancelled() => {}
        }
    }
    if given_up.is_cancelled() {
        shared.peers.forget(&address);
    }
}

/// Says why there is no link, once per change, and waits while there is another one.
async fn report(shared: &Shared, address: &str, problem: Problem) {
    match problem {
        Problem::Unreachable(why) => {
            if shared.peers.note(address, Dial::Lost(why.clone())) {
                tracing::warn!(address, why, "a peer cannot be reached; dialling goes on");
            }
        }
        Problem::Refused(refusal, peer) => {
            if let (proto::ByeReason::Duplicate, Some(name)) = (refusal.reason(), peer) {
                shared.peers.note(address, Dial::Linked(Arc::clone(&name)));
                return shared.peers.gone(&name).await;
            }
            count(&shared.counters.links_refused);
            let why = refusal.to_string();
            if shared.peers.note(address, Dial::Refused(why.clone())) {
                tracing::error!(address, why, "no link with a peer; dialling goes on");
            }
        }
    }
}

/// Why dialling made no link.
enum Problem {
    Unreachable(String),
    Refused(Refusal, Option<Arc<str>>),
}

async fn dial(
    shared: &Arc<Shared>,
    target: &Target,
) -> Result<(Arc<Link>, Streaming<Heard>), Problem> {
    let unreachable = |what: String| Problem::Unreachable(what);
    let patience = shared.config.hello_timeout;
    let endpoint = endpoint(shared, &target.address)?;
    let (channel, certified) = timeout(patience, connect(shared, &endpoint, target))
        .await
        .map_err(|_| unreachable(format!("no connection within {patience:?}")))?
        .map_err(unreachable)?;
    let (accept, accepted) = oneshot::channel();
    let greeting = greet(shared, channel, accepted);
    let (first, inbound) = timeout(patience, greeting)
        .await
        .map_err(|_| unreachable(format!("no hello within {patience:?}")))??;
    let said_name = first.hello.as_ref().map(|hello| Arc::from(hello.node.as_str()));
    let link = read_hello(first, &shared.identity)
        .and_then(|peer| shared.meet(peer, true, certified))
        .map_err(|refusal| Problem::Refused(refusal, said_name))?;
    let outbound = Outbound::new(Arc::clone(shared), Arc::clone(&link), None);
    // If the transport is gone, dropping what it should have read ends the link.
    drop(accept.send(outbound));
    Ok((link, inbound))
}

/// Connects, encrypted if this node has a certificate.
async fn connect(
    shared: &Shared,
    endpoint: &Endpoint,
    target: &Target,
) -> Result<(Channel, Option<Certified>), String> {
    let Some(tls) = &shared.config.tls else {
        let channel = endpoint.connect().await.map_err(|error| chain(&error))?;
        return Ok((channel, None));
    };
    let (channel, certified) = tls.channel_once(endpoint, target).await?;
    Ok((channel, Some(certified)))
}

/// Says hello and hears the peer's; after that the stream goes on with what is accepted.
async fn greet(
    shared: &Shared,
    channel: Channel,
    accepted: oneshot::Receiver<Outbound>,
) -> Result<(proto::Frame, Streaming<Heard>), Problem> {
    let rest = accepted
        .map(|outbound| match outbound {
            Ok(outbound) => outbound.left_stream(),
            Err(_) => stream::empty().right_stream(),
        })
        .flatten_stream();
    let frames = stream::once(future::ready(Frame::from(shared.hello()))).chain(rest);
    let mut client = tonic::client::Grpc::new(channel)
        .max_decoding_message_size(shared.config.frame_bytes)
        .max_encoding_message_size(usize::MAX);
    let explain = |status: Status| explain(&status);
    client.ready().await.map_err(|error| Problem::Unreachable(chain(&error)))?;
    let path = PathAndQuery::from_static(codec::PATH);
    let call = client.streaming(Request::new(frames), path, FrameCodec).await;
    let mut inbound = call.map_err(explain)?.into_inner();
    let closed = || Problem::Unreachable("the peer closed the link without a hello".into());
    let first = inbound.message().await.map_err(explain)?.ok_or_else(closed)?;
    Ok((first.small, inbound))
}

/// A peer's guard says no before its hello; anything else is no answer.
fn explain(status: &tonic::Status) -> Problem {
    if status.code() != tonic::Code::PermissionDenied {
        return Problem::Unreachable(chain(status));
    }
    let why = status.message().to_owned();
    Problem::Refused(Refusal::ByPeer { reason: proto::ByeReason::Denied, why }, None)
}

fn endpoint(shared: &Shared, address: &str) -> Result<Endpoint, Problem> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| Problem::Unreachable(chain(&error)))?;
    Ok(endpoint
        .tcp_nodelay(true)
        .http2_keep_alive_interval(shared.config.keep_alive)
        .keep_alive_timeout(shared.config.keep_alive_timeout)
        .keep_alive_while_idle(true))
}

/// An error with its causes, each said once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// The wait before the next attempt: doubles, with jitter so that nodes do not dial in step.
pub(crate) struct Pause {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Pause {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min }
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.min;
    }

    pub(crate) fn next(&mut self, rng: &mut fastrand::Rng) -> Duration {
        let pause = self.next;
        self.next = self.next.saturating_mul(2).min(self.max);
        pause.mul_f64(0.5 + rng.f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_its_longest_and_starts_over() {
        let ms = Duration::from_millis;
        let mut pause = Pause::new(ms(50), ms(2000));
        let mut rng = fastrand::Rng::with_seed(3);
        let mut longest = ms(50);
        for _ in 0..20 {
            let next = pause.next(&mut rng);
            assert!(next >= longest / 2 && next <= longest, "{next:?} of {longest:?}");
            longest = (longest * 2).min(ms(2000));
        }
        pause.reset();
        assert!(pause.next(&mut rng) <= ms(50));
    }
}
