//! The tickets of the whole service, as its coordinator tells them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stage_ticket::{CategoryStats, HolderStats};
use tokio::time::timeout;

use crate::tickets::{Coordinator, Counting};

/// How long the coordinator may take to tell.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many holders of a category are shown, the oldest.
const SHOWN: usize = 100;

/// A ticket category, counted over all nodes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TicketState {
    /// How many may be held at once; negative: refuse, never queue.
    pub limit: i64,
    /// How many are held.
    pub held: usize,
    /// How many wait.
    pub waiting: usize,
    /// Nothing more is granted.
    pub closed: bool,
    /// How old the oldest ticket is, in milliseconds.
    pub oldest_ms: Option<f64>,
    /// How long the first in the queue has waited, in milliseconds.
    #[serde(default)]
    pub waiting_ms: Option<f64>,
    /// Who holds one, at most a hundred, the oldest ticket first.
    #[serde(default)]
    pub holders: Vec<HolderState>,
    /// Tickets granted so far.
    pub granted: u64,
    /// Requests refused so far.
    pub refused: u64,
    /// Tickets that ended by their deadline so far.
    pub expired: u64,
}

/// A ticket that is held.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HolderState {
    /// The node that holds it.
    pub node: String,
    /// Which of the category's permits it is.
    pub slot: u32,
    /// Its id, as `_TICKET` has it.
    pub ticket: String,
    /// How old it is, in milliseconds.
    pub age_ms: f64,
    /// How much longer it lives unless it is extended, in milliseconds.
    pub left_ms: f64,
}

/// Who counts tickets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CountingState {
    /// How the nodes agree on it.
    pub rule: String,
    /// One for each shard of the categories.
    pub coordinators: Vec<CoordinatorState>,
    /// Requests of this node that wait.
    pub waiting_here: usize,
}

/// Who counts the tickets of a shard.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CoordinatorState {
    /// This node does.
    pub here: bool,
    /// Where it is; nowhere if each node counts its own, or none is connected.
    pub address: Option<String>,
    /// The epoch of its grants, which rises with each coordinator.
    pub epoch: Option<u64>,
    /// Why there are no tickets now.
    pub why: Option<String>,
}

/// Who counts, and what it has counted; no categories if it does not answer.
pub(super) async fn read(
    own: &str,
    counting: &Counting,
) -> (CountingState, BTreeMap<String, TicketState>) {
    let desk = counting.desk();
    let (stats, silence) = match timeout(PATIENCE, desk.tickets().stats_with_holders(SHOWN)).await {
        Ok(Ok(stats)) => (stats, None),
        Ok(Err(error)) => (Vec::new(), Some(error.to_string())),
        Err(_) => (Vec::new(), Some("the coordinator does not answer".to_owned())),
    };
    let coordinator = |Coordinator { is_here, address, epoch, why }| CoordinatorState {
        here: is_here,
        address,
        epoch,
        why: why.or_else(|| silence.clone()),
    };
    let state = CountingState {
        rule: counting.rule(),
        coordinators: counting.coordinators().into_iter().map(coordinator).collect(),
        waiting_here: desk.waiting(),
    };
    (state, stats.iter().map(|stats| category(own, stats)).collect())
}

fn category(own: &str, stats: &CategoryStats) -> (String, TicketState) {
    let permits = i64::from(stats.limit.permits());
    let state = TicketState {
        limit: if stats.limit.queues() { permits } else { -permits },
        held: stats.holders as usize,
        waiting: stats.waiters as usize,
        closed: stats.closed,
        oldest_ms: stats.oldest.map(millis),
        waiting_ms: stats.waiting.map(millis),
        holders: stats.listed.iter().map(|listed| holder(own, listed)).collect(),
        granted: stats.totals.granted,
        refused: stats.totals.refused,
        expired: stats.totals.expired,
    };
    (stats.name.to_string(), state)
}

fn holder(own: &str, stats: &HolderStats) -> HolderState {
    let counted_here = stats.node.is_empty();
    HolderState {
        node: if counted_here { own } else { &stats.node }.to_owned(),
        slot: stats.token.slot,
        ticket: stats.token.stamp.to_string(),
        age_ms: millis(stats.age),
        left_ms: millis(stats.remaining),
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
