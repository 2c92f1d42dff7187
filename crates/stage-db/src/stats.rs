use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What a pool has done and does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Connections that are open.
    pub connections: u32,
    /// Those of them that nobody uses.
    pub idle: u32,
    /// Calls that wait for a connection.
    pub waiting: usize,
    /// Statements that were sent.
    pub statements: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Those of them that took too long.
    pub timeouts: u64,
    /// Calls that were refused because too many waited, or for too long.
    pub refused: u64,
    /// Transactions that were begun.
    pub transactions: u64,
    /// Those of them that were rolled back.
    pub rolled_back: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) waiting: AtomicUsize,
    pub(crate) statements: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) timeouts: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) transactions: AtomicU64,
    pub(crate) rolled_back: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, connections: u32, idle: u32) -> Stats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            connections,
            idle,
            waiting: self.waiting.load(Ordering::Relaxed),
            statements: of(&self.statements),
            failed: of(&self.failed),
            timeouts: of(&self.timeouts),
            refused: of(&self.refused),
            transactions: of(&self.transactions),
            rolled_back: of(&self.rolled_back),
        }
    }
}
