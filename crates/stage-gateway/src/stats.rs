//! What has happened at a gateway.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the start, and what is open now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Signals that were asked for, by requests and by sessions.
    pub signals: u64,
    /// Of these, those refused before they were sent, for any reason.
    pub refused: u64,
    /// Of those refused, those beyond the rate of their client.
    pub limited: u64,
    /// Requests of nobody who is known.
    pub unauthorised: u64,
    /// Connections that were closed because too many were open.
    pub turned_away: u64,
    /// Sessions that are open.
    pub sessions: u64,
    /// Sessions that were ended because their client did not read.
    pub slow: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) signals: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) limited: AtomicU64,
    pub(crate) unauthorised: AtomicU64,
    pub(crate) turned_away: AtomicU64,
    pub(crate) sessions: AtomicU64,
    pub(crate) slow: AtomicU64,
}

impl Counters {
    pub(crate) fn view(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            signals: read(&self.signals),
            refused: read(&self.refused),
            limited: read(&self.limited),
            unauthorised: read(&self.unauthorised),
            turned_away: read(&self.turned_away),
            sessions: read(&self.sessions),
            slow: read(&self.slow),
        }
    }
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
