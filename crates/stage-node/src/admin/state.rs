use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stage_lua::QueueView;
use stage_route::Reading;
use stage_signal::Reason;

use super::route::RouteState;
use super::tickets::{self, CountingState, TicketState};
use crate::bottleneck::{Bottleneck, Places};
use crate::node::Shared;

/// How many keys are shown.
const KEYS: usize = 10;

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
    /// Where its work spends its time, and what would help.
    #[serde(default)]
    pub bottleneck: Option<Bottleneck>,
    /// Who counts tickets.
    pub ticket_counting: CountingState,
    /// Ticket categories by name, counted over all nodes.
    pub tickets: BTreeMap<String, TicketState>,
    /// The variables that scripts share.
    pub variables: VariablesState,
    /// The databases of `#db`, by name.
    #[serde(default)]
    pub databases: BTreeMap<String, DatabaseState>,
    /// Requests of scripts to other services; none of a node that is built without them.
    #[serde(default)]
    pub http: Option<HttpState>,
    /// What waits and runs, by queue.
    pub queues: BTreeMap<String, QueueState>,
    /// The keys of `stage.submit` with the most jobs, the deepest first.
    #[serde(default)]
    pub keys: Vec<KeyState>,
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

/// The variables that scripts share.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VariablesState {
    /// The newest version; every write makes the next one.
    pub version: u64,
    /// Versions not yet freed: the newest, those that a handler reads, and those that nobody reads any more and that are
    /// freed within some tens of milliseconds.
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

/// Requests of scripts to other services.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HttpState {
    /// Those that have begun and not ended.
    pub under_way: u64,
    /// How many may be under way at a time.
    pub limit: u64,
    /// Those that have ended since the start, well or not.
    pub ended: u64,
    /// Calls that failed, by the kind of the failure that the script got: `busy` at the limit, `timeout`,
    /// `too_large`, and so on.
    pub failed: BTreeMap<String, u64>,
}

/// A queue and what runs behind it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QueueState {
    /// Messages or jobs that wait.
    pub waiting: usize,
    /// Handlers or jobs that run or sleep.
    pub running: usize,
    /// Its delay in the last window of the route control, in milliseconds: of its most delayed instance. 0 for a queue
    /// that this does not measure.
    #[serde(default)]
    pub delay_ms: f64,
    /// The busy share of its workers, 0 to 1: of its busiest instance. 0 for a queue that the route control does not measure.
    #[serde(default)]
    pub utilisation: f64,
    /// Messages of other nodes that were refused because they had waited for too long.
    #[serde(default)]
    pub refused_late: u64,
}

/// A key of `stage.submit` that has jobs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyState {
    /// The key as a script has it.
    pub key: String,
    /// Its jobs that have not ended.
    pub jobs: usize,
    /// How long the first that waits has waited, in milliseconds; 0 if none waits.
    pub waiting_ms: f64,
    /// Jobs of it that have ended since they began to queue up.
    pub ended: u64,
    /// The time that these took, in milliseconds.
    pub busy_ms: f64,
}

impl StateView {
    pub(crate) async fn of(shared: &Shared) -> Self {
        let (ticket_counting, tickets) = tickets::read(shared.name.as_str(), &shared.tickets).await;
        let databases = databases(shared);
        let bottleneck = places(shared, &tickets, &databases).bottleneck();
        Self {
            node: shared.name.to_string(),
            stages: shared.stages.iter().map(ToString::to_string).collect(),
            peers: peers(shared),
            route: RouteState::of(shared),
            bottleneck: Some(bottleneck),
            ticket_counting,
            tickets,
            variables: variables(shared),
            databases,
            http: http(shared),
            queues: queues(shared),
            keys: keys(shared),
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

#[cfg(feature = "http")]
fn http(shared: &Shared) -> Option<HttpState> {
    let stats = shared.runtime.requests();
    let failed = stats.failed.into_iter().map(|(kind, count)| (kind.to_owned(), count)).collect();
    Some(HttpState { under_way: stats.under_way, limit: stats.limit, ended: stats.ended, failed })
}

#[cfg(not(feature = "http"))]
fn http(_: &Shared) -> Option<HttpState> {
    None
}

/// Where work is now.
fn places(
    shared: &Shared,
    tickets: &BTreeMap<String, TicketState>,
    databases: &BTreeMap<String, DatabaseState>,
) -> Places {
    let keys = shared.submitter.top_keys(1).into_iter();
    Places {
        queues: shared.runtime.queues().into_iter().map(|view| (view.name, view.waiting)).collect(),
        keys: keys.map(|key| (key.key.to_string(), key.depth - usize::from(key.running))).collect(),
        tickets: tickets.iter().map(|(name, of)| (name.clone(), of.waiting)).collect(),
        databases: databases
            .iter()
            .map(|(name, of)| (name.clone(), of.waiting, (of.connections - of.idle) as usize))
            .collect(),
        computing: shared.route.view().computing,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
    }
}

fn keys(shared: &Shared) -> Vec<KeyState> {
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let keys = shared.submitter.top_keys(KEYS).into_iter();
    keys.map(|key| KeyState {
        key: key.key.to_string(),
        jobs: key.depth,
        waiting_ms: ms(key.head_age),
        ended: key.ended,
        busy_ms: ms(key.busy),
    })
    .collect()
}

fn queues(shared: &Shared) -> BTreeMap<String, QueueState> {
    let stats = shared.submitter.stats();
    let running = stats.active - stats.waiting - stats.sleeping;
    let submit = QueueState::of(stats.waiting as usize, running as usize, &[]);
    let readings = shared.route.readings();
    let queue = |view: QueueView| {
        let is_of = |reading: &&Reading| of_queue(&reading.name, &view.name);
        let readings: Vec<_> = readings.iter().filter(is_of).collect();
        let state = QueueState::of(view.waiting, view.running, &readings);
        (view.name, state)
    };
    let queues = shared.runtime.queues().into_iter().map(queue);
    queues.chain([("submit".to_owned(), submit)]).collect()
}

/// Whether a meter is of a queue: that of a stage has one for each instance, such as `stage#1`.
fn of_queue(meter: &str, queue: &str) -> bool {
    meter.strip_prefix(queue).is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
}

impl QueueState {
    fn of(waiting: usize, running: usize, readings: &[&Reading]) -> Self {
        let delay_ms = readings.iter().map(|reading| reading.delay.as_secs_f64() * 1000.0);
        let shares = readings.iter().map(|reading| reading.utilisation);
        Self {
            waiting,
            running,
            delay_ms: delay_ms.fold(0.0, f64::max),
            utilisation: shares.fold(0.0, f64::max),
            refused_late: readings.iter().map(|reading| reading.refused).sum(),
        }
    }
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
