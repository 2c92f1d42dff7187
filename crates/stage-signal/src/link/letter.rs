//! A message as it waits for a link.

use std::sync::Arc;

use bytes::Bytes;
use stage_value::{MessageId, Prototype};
use tokio::time::Instant;
use tracing::Span;

use super::functions;
use crate::Trace;

/// What the fields around the arguments may take in an encoded envelope or ending.
pub(super) const OVERHEAD: usize = 64;

/// A message on its way to a node; cloning shares the arguments.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub(crate) stage: Arc<str>,
    pub(crate) message: MessageId,
    /// The arguments, with functions by hash.
    pub(crate) args: Bytes,
    /// The functions that the arguments name.
    pub(crate) functions: Vec<Arc<Prototype>>,
    pub(crate) origin_stage: Arc<str>,
    pub(crate) wants_results: bool,
    /// Whether it may be sent again when it may have started.
    pub(crate) idempotent: bool,
    /// Whether it is kept after it was written, because another node may be tried.
    pub(crate) is_kept: bool,
    pub(crate) deadline: Option<Instant>,
    pub(crate) trace: Option<Box<Trace>>,
    /// Lasts as long as the letter is queued; it decides nothing.
    pub(crate) queued: Option<Arc<Span>>,
}

impl Letter {
    pub(super) fn size(&self) -> usize {
        let text = self.stage.len() + self.message.as_str().len() + self.origin_stage.len();
        self.args.len() + text + OVERHEAD
    }

    /// It waits no longer to be written.
    pub(super) fn end_queue(self: &mut Arc<Self>) {
        if self.queued.is_some() {
            Arc::make_mut(self).queued = None;
        }
    }

    /// What it keeps in memory, and takes in a frame at most.
    pub(super) fn weight(&self) -> usize {
        self.size() + sizes(&self.functions)
    }

    /// What is left until the deadline, rounded up; `None` without one.
    pub(super) fn remaining_ms(&self, now: Instant) -> Option<u64> {
        let remaining = self.deadline?.saturating_duration_since(now);
        Some(u64::try_from(remaining.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
    }
}

/// What functions take in a frame.
pub(super) fn sizes(functions: &[Arc<Prototype>]) -> usize {
    functions.iter().map(|function| functions::size(function)).sum()
}
