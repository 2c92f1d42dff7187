use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use stage_value::{Value, wire};
use tokio::time::{Instant, Sleep, sleep_until};
use tracing::Span;

use crate::handler::Handler;
use crate::link::Link;
use crate::outcomes::Outcome;
use crate::slot::Promise;
use crate::step::record_end;
use crate::{Failure, Reason};

/// How the receiver of a message reports its end, once.
///
/// Dropping it unanswered reports a failure, so that no sender waits in vain.
pub struct Responder {
    channel: Option<Channel>,
    deadline: Option<Instant>,
    /// Lasts until the handler has ended.
    span: Span,
    /// Made when somebody asks whether the sender is gone: most handlers end before.
    timer: Option<Pin<Box<Sleep>>>,
}

enum Channel {
    Local(Promise),
    Remote { link: Arc<Link>, id: u64, handler: Arc<Handler>, wants_results: bool },
}

impl Responder {
    pub(crate) fn local(promise: Promise, deadline: Option<Instant>) -> Self {
        Self::new(Channel::Local(promise), deadline)
    }

    /// For an envelope of a link; `handler` is cancelled when the peer no longer waits.
    pub(crate) fn remote(
        link: Arc<Link>,
        id: u64,
        handler: Arc<Handler>,
        wants_results: bool,
        deadline: Option<Instant>,
    ) -> Self {
        Self::new(Channel::Remote { link, id, handler, wants_results }, deadline)
    }

    fn new(channel: Channel, deadline: Option<Instant>) -> Self {
        Self { channel: Some(channel), deadline, span: Span::none(), timer: None }
    }

    pub(crate) fn spanned(mut self, span: Span) -> Self {
        self.span = span;
        self
    }

    /// The span of this message, `signal.handle`, if somebody traces it: what the handler does belongs into it.
    #[must_use]
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// The handler has ended with these results.
    pub fn reply(mut self, results: Vec<Value>) {
        self.end(Ok(results));
    }

    /// The handler has failed or has not run.
    pub fn fail(mut self, failure: Failure) {
        self.end(Err(failure));
    }

    /// Whether the sender has stopped waiting or its deadline has passed.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        let is_abandoned = match &self.channel {
            Some(Channel::Local(promise)) => promise.is_abandoned(),
            Some(Channel::Remote { handler, .. }) => handler.is_cancelled(),
            None => true,
        };
        is_abandoned || self.is_past_deadline()
    }

    fn is_past_deadline(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Waits until the sender has stopped waiting or its deadline has passed. Cancel-safe.
    pub async fn cancelled(&mut self) {
        poll_fn(|context| self.poll_cancelled(context)).await;
    }

    /// Ready once the sender has stopped waiting or its deadline has passed; the latest task that asked is woken then.
    pub fn poll_cancelled(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let abandoned = match &self.channel {
            Some(Channel::Local(promise)) => promise.poll_abandoned(context),
            Some(Channel::Remote { handler, .. }) => handler.poll_cancelled(context),
            None => Poll::Ready(()),
        };
        if abandoned.is_ready() {
            return abandoned;
        }
        let Some(deadline) = self.deadline else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        timer.as_mut().poll(context)
    }

    fn end(&mut self, outcome: Outcome) {
        record_end(&self.span, &outcome);
        match self.channel.take() {
            Some(Channel::Local(promise)) => promise.keep(outcome),
            Some(Channel::Remote { link, id, wants_results, .. }) => {
                let encode = |results: Vec<Value>| {
                    if wants_results { wire::encode(&results) } else { Bytes::new() }
                };
                link.finish(id, outcome.map(encode));
            }
            None => {}
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if self.channel.is_some() {
            let failure = if self.is_past_deadline() {
                Failure::new(Reason::Deadline, "the handler was stopped at the deadline")
            } else if self.is_cancelled() {
                Failure::new(Reason::Cancelled, "the handler was stopped: nobody waits for it")
            } else {
                Failure::new(Reason::Handler, "ended without an answer")
            };
            self.end(Err(failure));
        }
    }
}
