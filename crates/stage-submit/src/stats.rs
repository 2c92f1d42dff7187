//! What a scheduler tells about itself.

use std::cmp::Reverse;
use std::time::Duration;

use crate::histogram::Histogram;
use crate::key::Key;

/// Totals of a scheduler at one moment.
///
/// Counts are exact. Each shard is read under its own lock, so that numbers of different shards
/// may be some microseconds apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Unended jobs: waiting, running, or asleep between two repeats; key 0 included.
    pub active: u64,
    /// Of these, jobs that wait for their key.
    pub waiting: u64,
    /// Of these, repeating jobs between two runs.
    pub sleeping: u64,
    /// Declared bytes of unended jobs.
    pub bytes: u64,
    /// Keys with unended jobs, key 0 not counted.
    pub keys: u64,
    /// How accepted jobs have ended so far.
    pub ended: Ended,
    /// Jobs refused by a bound.
    pub refused: u64,
    /// From submission until the key was free, of each run that had to wait. A run that found its key
    /// free is not in here; see [`Stats::at_once`]. While a key's jobs are short, those that queue up
    /// share looks at the clock, and a wait may be counted from a moment before its beginning, at the
    /// earliest from when a worker last took jobs of that key.
    pub wait: Histogram,
    /// Runs that started without waiting for their key.
    pub at_once: u64,
    /// From being free to run until a worker took it up, of runs that started at once; one in
    /// 16 is measured and counts 16 times.
    pub lag: Histogram,
    /// From start to end of a run, pauses for sleep or I/O included. Measured for every run that
    /// waited and for one in 16 of the others, which counts 16 times.
    pub run: Histogram,
}

/// How jobs have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended {
    /// With a result.
    pub completed: u64,
    /// With a panic.
    pub panicked: u64,
    /// Cancelled by handle or key, or refused as part of a deadlock.
    pub cancelled: u64,
    /// By a deadline that passed before the start.
    pub expired: u64,
    /// By the closing of the scheduler.
    pub closed: u64,
}

impl Ended {
    /// All together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.completed + self.panicked + self.cancelled + self.expired + self.closed
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.completed += other.completed;
        self.panicked += other.panicked;
        self.cancelled += other.cancelled;
        self.expired += other.expired;
        self.closed += other.closed;
    }
}

/// One key that has unended jobs. An idle key is forgotten with its numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyStats {
    /// The key.
    pub key: Key,
    /// Unended jobs.
    pub depth: usize,
    /// Whether one of them runs.
    pub running: bool,
    /// How long the head of the queue has waited; zero if none waits.
    pub head_age: Duration,
    /// Runs ended since jobs began to queue up under this key.
    pub ended: u64,
    /// Time that these runs took.
    pub busy: Duration,
}

/// The `n` keys with the deepest queues, deepest first; among equals the one whose head waited
/// longest, then by key.
pub(crate) fn top(keys: impl Iterator<Item = KeyStats>, n: usize) -> Vec<KeyStats> {
    let mut best: Vec<KeyStats> = Vec::new();
    for key in keys {
        best.push(key);
        if best.len() >= n.saturating_mul(2).max(64) {
            keep(&mut best, n);
        }
    }
    keep(&mut best, n);
    best
}

fn keep(best: &mut Vec<KeyStats>, n: usize) {
    best.sort_by(|a, b| {
        let rank = |k: &KeyStats| Reverse((k.depth, k.head_age));
        rank(a).cmp(&rank(b)).then_with(|| a.key.cmp(&b.key))
    });
    best.truncate(n);
}
