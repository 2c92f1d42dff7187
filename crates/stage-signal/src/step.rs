//! Steps of a trace as spans, for whoever subscribes to them.
//!
//! A span of `tracing` knows nothing of other nodes, so each carries the W3C ids of its step: `trace`, `span`
//! and `parent`. An exporter that takes these finds the steps of all nodes joined. `signal.send` lasts from the sending to
//! the end that the sender hears, `signal.queue` while the letter waits to be written to a link, `signal.handle` from the
//! arrival at a stage to the handler's end.

use std::fmt::Display;

use tracing::Span;
use tracing::field::Empty;

use crate::Trace;
use crate::outcomes::Outcome;

/// A step that begins, and the place in the trace below which later ones belong.
pub(crate) struct Step {
    pub(crate) trace: Option<Trace>,
    pub(crate) span: Span,
}

macro_rules! span {
    ($name:literal, $node:expr, $stage:expr, $message:expr) => {
        || {
            tracing::debug_span!(
                target: "stage::trace",
                parent: None,
                $name,
                node = %$node,
                stage = %$stage,
                message = %$message,
                trace = Empty,
                span = Empty,
                parent = Empty,
                end = Empty
            )
        }
    };
}

impl Step {
    /// `node` sends.
    pub(crate) fn send(
        parent: Option<Trace>,
        node: &str,
        stage: &dyn Display,
        message: &dyn Display,
    ) -> Self {
        Self::begin(parent, span!("signal.send", node, stage, message))
    }

    /// A letter begins to wait for the link to `node`.
    pub(crate) fn queue(
        parent: Option<Trace>,
        node: &str,
        stage: &dyn Display,
        message: &dyn Display,
    ) -> Self {
        Self::begin(parent, span!("signal.queue", node, stage, message))
    }

    /// A message has come to a stage of `node`.
    pub(crate) fn handle(
        parent: Option<Trace>,
        node: &str,
        stage: &dyn Display,
        message: &dyn Display,
    ) -> Self {
        Self::begin(parent, span!("signal.handle", node, stage, message))
    }

    /// Nobody is told of what is not sampled, and what nobody is told of is no step: the next one belongs to its parent.
    fn begin(parent: Option<Trace>, make: impl FnOnce() -> Span) -> Self {
        let Some(sampled) = parent.filter(Trace::is_sampled) else {
            return Self { trace: parent, span: Span::none() };
        };
        let span = make();
        if span.is_disabled() {
            return Self { trace: parent, span };
        }
        let own = sampled.child();
        span.record("trace", own.id()).record("span", own.span()).record("parent", sampled.span());
        Self { trace: Some(own), span }
    }
}

/// Writes how a step ended into its span: `ok`, or the reason.
pub(crate) fn record_end(span: &Span, outcome: &Outcome) {
    if !span.is_none() {
        span.record(
            "end",
            outcome.as_ref().map_or_else(|failure| failure.reason.as_str(), |_| "ok"),
        );
    }
}
