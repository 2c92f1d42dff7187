//! What a term of a cluster's coordinator has written down before it goes on.

use std::time::Duration;

use super::Hub;
use crate::coordinator::Phase;
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
            let State { coordinator, wants, .. } = state;
            let wanted = wants.wanted(|node| coordinator.live_request_count(node) == 0);
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
            let State { coordinator, wants, .. } = state;
            let mut wanted = wants.wanted(|node| coordinator.live_request_count(node) == 0);
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
        self.with(|state, now| {
            state.wants.written(wanted, longest);
            state.extend_parked(now);
        });
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
