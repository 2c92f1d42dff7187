//! What a term of a cluster's coordinator has written down before it goes on.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Hub;
use crate::coordinator::{NodeId, Phase};
use crate::serve::state::State;
use crate::serve::wants::Wanted;

impl Hub {
    /// Waits until somebody needs something written down.
    pub(crate) async fn pressed(&self) {
        self.wanted.notified().await;
    }

    /// What is to be written down now, and the longest grant that may live from here on. Grants
    /// are kept within it even while the write is under way.
    pub(crate) fn begin_write(&self, recorded: Duration) -> (Wanted, Duration) {
        self.with(|state, now| {
            let wanted = state.wanted();
            let State { coordinator, wants, .. } = state;
            let grant = coordinator.rules().grant;
            // Unknown grants of the predecessor may be as long as its record says.
            let needed = match coordinator.phase() {
                Phase::Serving => coordinator.longest_remaining(now).max(grant),
                Phase::Recovering { .. } => recorded,
            };
            wants.shorten(needed);
            let longest = needed.max(wanted.longest);
            (wanted, longest)
        })
    }

    /// What is to be written when the term has ended, and how long a grant of it may still live.
    pub(crate) fn last_write(&self, recorded: Duration) -> (Wanted, Duration) {
        self.with(|state, now| {
            let mut wanted = state.wanted();
            let coordinator = &state.coordinator;
            // Who has not been served has nothing to report.
            wanted.arriving.clear();
            let longest = match coordinator.phase() {
                Phase::Serving => coordinator.longest_remaining(now),
                Phase::Recovering { .. } => recorded,
            };
            (wanted, longest)
        })
    }

    pub(crate) fn finish_write(&self, wanted: &Wanted, longest: Duration) {
        self.with(|state, now| state.written(now, wanted, longest));
    }

    /// Counts the nodes that a predecessor wrote down as absent until they come.
    pub(crate) fn expect(&self, nodes: &BTreeSet<NodeId>) {
        self.with(|state, now| state.expect(now, nodes.iter().copied()));
    }

    pub(crate) fn fail_write(&self, wanted: &Wanted) {
        self.with(|state, _| state.wants.failed(wanted));
    }

    /// Whether somebody waits for a write.
    pub(crate) fn is_pressed(&self) -> bool {
        self.with(|state, _| state.wants.is_pressing())
    }

    /// Ends all streams; their nodes may come back.
    pub(crate) fn dismiss(&self) {
        self.with(|state, now| state.dismiss(now));
    }
}
