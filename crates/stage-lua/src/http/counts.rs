//! How many requests there are, and what became of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{IN_FLIGHT, Kind};

/// Requests of a node to other services since its start.
#[derive(Clone, Debug)]
pub struct RequestStats {
    /// Requests that have begun and not ended.
    pub under_way: u64,
    /// How many may be under way at a time.
    pub limit: u64,
    /// Requests that have ended, well or not.
    pub ended: u64,
    /// Calls that failed, by the kind that scripts see.
    pub failed: Vec<(&'static str, u64)>,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    begun: AtomicU64,
    ended: AtomicU64,
    failed: [AtomicU64; Kind::ALL.len()],
}

impl Counts {
    /// A script gets a failure.
    pub(crate) fn failed(&self, kind: Kind) {
        self.failed[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> RequestStats {
        // In this order no request has ended that has not begun.
        let ended = self.ended.load(Ordering::Acquire);
        let begun = self.begun.load(Ordering::Relaxed);
        let failed =
            |kind: Kind| (kind.as_str(), self.failed[kind as usize].load(Ordering::Relaxed));
        RequestStats {
            under_way: begun - ended,
            limit: IN_FLIGHT as u64,
            ended,
            failed: Kind::ALL.map(failed).into(),
        }
    }
}

/// A request from its beginning until nothing is left of it, however it ends.
pub(super) struct UnderWay(Arc<Counts>);

impl UnderWay {
    pub(super) fn begin(counts: &Arc<Counts>) -> Self {
        counts.begun.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counts))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Release);
    }
}
