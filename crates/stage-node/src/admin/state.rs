use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stage_signal::Reason;

use super::tickets::{self, CountingState, TicketState};
use crate::node::Shared;

/// What `/api/state` tells of a node. Later versions add fields.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StateView {
    /// The node's name.
    pub node: String,
    /// The stages it carries.
    pub stages: Vec<String>,
    /// The other nodes it knows of.
    pub peers: Vec<PeerState>,
    /// Its own delay and standing.
    pub route: RouteState,
    /// Who counts tickets.
    pub ticket_counting: CountingState,
    /// Ticket categories by name, counted over all nodes.
    pub tickets: BTreeMap<String, TicketState>,
    /// The variables that scripts share.
    pub variables: VariablesState,
    /// The databases of `#db`, by name.
    #[serde(default)]
    pub databases: BTreeMap<String, DatabaseState>,
    /// What waits and runs, by queue.
    pub queues: BTreeMap<String, QueueState>,
    /// What has happened since the start.
    pub counters: BTreeMap<String, u64>,
}

/// Another node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PeerState {
    /// Its name; empty while it has not said it.
    pub name: String,
    /// Where it listens or is dialled.
    pub address: String,
    /// Its standing in the mesh, or how the link to it is.
    pub state: String,
    /// Why it is lost or refused.
    pub why: Option<String>,
    /// The stages it carries.
    pub stages: Vec<String>,
}

/// The node's own delay and standing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RouteState {
    /// joined, held, draining, isolated or probing.
    pub state: String,
    /// The delay past which it is in its critical region, in milliseconds.
    pub threshold_ms: f64,
    /// What one message costs when it is calm, in milliseconds.
    pub baseline_ms: f64,
    /// The delay of its slowest queue in the last window, in milliseconds.
    pub delay_ms: f64,
    /// Busy share of its workers, 0 to 1.
    pub utilisation: f64,
    /// How often it has left.
    pub leaves: u64,
    /// Why it is in its state.
    pub reason: String,
}

/// The variables that scripts share.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VariablesState {
    /// The newest version; every write makes the next one.
    pub version: u64,
    /// Versions not yet freed: the newest, and those that a handler reads.
    pub versions_alive: usize,
    /// For how long the oldest of these has been out of date, in milliseconds.
    pub held_ms: Option<f64>,
    /// Updates that were computed again because another writer was first.
    pub conflicts: u64,
    /// Updates that lost so often that they made the others wait.
    pub queued: u64,
}

/// A database as this node uses it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DatabaseState {
    /// Connections of this node that are open.
    pub connections: u32,
    /// Those of them that nobody uses.
    pub idle: u32,
    /// Calls that wait for a connection.
    pub waiting: usize,
    /// Statements that were sent since the start.
    pub statements: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Those of them that took too long.
    pub timeouts: u64,
    /// Calls that got no connection.
    pub refused: u64,
    /// Transactions that were begun.
    pub transactions: u64,
    /// Those of them that were rolled back.
    pub rolled_back: u64,
}

/// A queue and what runs behind it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QueueState {
    /// Messages or jobs that wait.
    pub waiting: usize,
    /// Handlers or jobs that run or sleep.
    pub running: usize,
}

impl StateView {
    pub(crate) async fn of(shared: &Shared) -> Self {
        let (ticket_counting, tickets) = tickets::read(shared.name.as_str(), &shared.tickets).await;
        Self {
            node: shared.name.to_string(),
            stages: shared.stages.iter().map(ToString::to_string).collect(),
            peers: peers(shared),
            route: route(shared),
            ticket_counting,
            tickets,
            variables: variables(shared),
            databases: databases(shared),
            queues: queues(shared),
            counters: counters(shared),
        }
    }
}

fn peers(shared: &Shared) -> Vec<PeerState> {
    let views = shared.mesh.peers();
    views
        .into_iter()
        .map(|view| PeerState {
            name: view.name.to_string(),
            address: view.address,
            state: view.state.to_owned(),
            why: view.why,
            stages: view.stages.iter().map(ToString::to_string).collect(),
        })
        .collect()
}

fn route(shared: &Shared) -> RouteState {
    let view = shared.route.view();
    RouteState {
        state: view.state.to_string(),
        threshold_ms: view.threshold.as_secs_f64() * 1000.0,
        baseline_ms: view.baseline.as_secs_f64() * 1000.0,
        delay_ms: view.delay.as_secs_f64() * 1000.0,
        utilisation: view.utilisation,
        leaves: view.leaves,
        reason: view.reason,
    }
}

fn variables(shared: &Shared) -> VariablesState {
    let stats = shared.variables.stats();
    VariablesState {
        version: stats.commits,
        versions_alive: stats.versions_alive,
        held_ms: stats.held_for.map(|held| held.as_secs_f64() * 1000.0),
        conflicts: stats.conflicts,
        queued: stats.queued,
    }
}

#[cfg(feature = "db")]
fn databases(shared: &Shared) -> BTreeMap<String, DatabaseState> {
    let state = |(name, pool): (&str, &stage_db::Pool)| {
        let stats = pool.stats();
        let state = DatabaseState {
            connections: stats.connections,
            idle: stats.idle,
            waiting: stats.waiting,
            statements: stats.statements,
            failed: stats.failed,
            timeouts: stats.timeouts,
            refused: stats.refused,
            transactions: stats.transactions,
            rolled_back: stats.rolled_back,
        };
        (name.to_owned(), state)
    };
    shared.databases.iter().map(state).collect()
}

#[cfg(not(feature = "db"))]
fn databases(_: &Shared) -> BTreeMap<String, DatabaseState> {
    BTreeMap::new()
}

fn queues(shared: &Shared) -> BTreeMap<String, QueueState> {
    let stats = shared.submitter.stats();
    let running = stats.active - stats.waiting - stats.sleeping;
    let submit = QueueState { waiting: stats.waiting as usize, running: running as usize };
    let queues = shared.runtime.queues().into_iter();
    queues
        .map(|view| (view.name, QueueState { waiting: view.waiting, running: view.running }))
        .chain([("submit".to_owned(), submit)])
        .collect()
}

fn counters(shared: &Shared) -> BTreeMap<String, u64> {
    let own = shared.runtime.counters().iter().map(|(name, value)| (name.to_owned(), value));
    let stats = shared.mesh.stats();
    let signals = [
        ("sent", stats.sent),
        ("received", stats.received),
        ("replies", stats.replies),
        ("retries", stats.retries),
        ("retries_spent", stats.retries_spent),
        ("panics", stats.panics),
        ("withdrawn", stats.withdrawn),
        ("turned_away", stats.turned_away),
        ("links_opened", stats.links_opened),
        ("links_lost", stats.links_lost),
        ("links_refused", stats.links_refused),
        ("strangers", stats.strangers),
    ];
    let signals = signals.into_iter().map(|(name, value)| (format!("signals_{name}"), value));
    let failures = Reason::ALL
        .into_iter()
        .map(|reason| (format!("signals_failed_{}", reason.as_str()), stats.failed(reason)));
    own.chain(signals).chain(failures).chain(gateway(shared)).collect()
}

/// What happened at the door for browsers and curl, if there is one.
fn gateway(shared: &Shared) -> impl Iterator<Item = (String, u64)> {
    let stats = shared.gateway.as_ref().map(stage_gateway::Gateway::stats);
    stats.into_iter().flat_map(|stats| {
        [
            ("signals", stats.signals),
            ("refused", stats.refused),
            ("limited", stats.limited),
            ("unauthorised", stats.unauthorised),
            ("turned_away", stats.turned_away),
            ("sessions", stats.sessions),
            ("slow", stats.slow),
        ]
        .map(|(name, value)| (format!("gateway_{name}"), value))
    })
}
