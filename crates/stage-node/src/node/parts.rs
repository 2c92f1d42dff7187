use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use stage_gateway::Gateway;
#[cfg(feature = "db")]
use stage_lua::TicketGate;
use stage_lua::{Databases, Options, Output, Parts, Runtime, Testing, TicketDesk};
use stage_route::Route;
use stage_signal::{Identity, Mesh, Tls};
use stage_snapshot::Store;
use stage_submit::Submitter;
use stage_value::Value;

use super::durable;
use super::start::StartError;
use crate::config::{self, Config};
use crate::standing::Standing;
use crate::tickets::{Counting, Plan, TicketsError};

/// The parts of a node, made for each other.
pub(super) struct Built {
    pub(super) mesh: Mesh,
    pub(super) submitter: Submitter,
    pub(super) tickets: Counting,
    pub(super) route: Route,
    pub(super) runtime: Runtime,
    pub(super) standing: Arc<Standing>,
    pub(super) variables: Arc<Store<Value>>,
    pub(super) databases: Databases,
}

pub(super) fn build(
    config: &Config,
    address: Option<SocketAddr>,
    output: Output,
) -> Result<Built, StartError> {
    build_for(config, address, output, None)
}

/// The scripts of a node without links and ports, on the current thread.
///
/// # Errors
/// As a node's start.
pub(crate) fn test_node(
    config: &Config,
    output: Output,
    testing: Testing,
) -> Result<Runtime, StartError> {
    build_for(config, None, output, Some(testing)).map(|built| built.runtime)
}

/// A node without links and ports, within another program.
///
/// # Errors
/// As a node's start.
pub(crate) fn embedded(config: &Config, output: Output) -> Result<(Mesh, Runtime), StartError> {
    build_for(config, None, output, None).map(|built| (built.mesh, built.runtime))
}

fn build_for(
    config: &Config,
    address: Option<SocketAddr>,
    output: Output,
    testing: Option<Testing>,
) -> Result<Built, StartError> {
    let name: Arc<str> = config.node.name.to_shared();
    let route = Route::new(&name, sensitivity(config.route)?);
    let standing = Arc::new(Standing::new(route.clone()));
    let plan = Plan::of(config, address).map_err(TicketsError::Plan)?;
    let links = mesh_config(config, &plan)?;
    let tls = links.tls.clone();
    let mesh = Mesh::new(identity(config, address), links, standing.clone())?;
    let submitter = Submitter::new(submit_limits(&config.limits));
    let tickets = Counting::start(config, &plan, &mesh, tls.as_ref())?;
    let variables = Arc::new(Store::with_reclaimer().map_err(StartError::Thread)?);
    if let Some(snapshot) = &config.snapshot {
        durable::restore(snapshot, &variables)?;
    }
    let databases = databases(config, tickets.desk())?;
    let parts = Parts {
        node: name,
        mesh: mesh.clone(),
        submitter: submitter.clone(),
        tickets: tickets.desk().clone(),
        databases: databases.clone(),
        shared: Arc::clone(&variables),
        route: route.clone(),
        output,
    };
    let runtime = Runtime::new(Options { testing, ..options(config) }, parts)?;
    Ok(Built { mesh, submitter, tickets, route, runtime, standing, variables, databases })
}

fn sensitivity(route: config::Route) -> Result<stage_route::Config, StartError> {
    match route {
        config::Route::Never => {
            tracing::warn!("#route is 0: this node never leaves the mesh, however slow it is");
            Ok(stage_route::Config::never())
        }
        config::Route::Sensitivity(value) => Ok(stage_route::Config::try_new(value)?),
        config::Route::Tuned(tuning) => Ok(stage_route::Config::tuned(tuning)?),
    }
}

fn identity(config: &Config, address: Option<SocketAddr>) -> Identity {
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Identity {
        name: config.node.name.to_shared(),
        group: config.node.group.to_shared(),
        address: config.node.address(address),
        // Nanoseconds fit 64 bits until the year 2554.
        incarnation: started.as_nanos() as u64 ^ u64::from(std::process::id()),
    }
}

/// How long etcd lists a node that has vanished.
const LEASE: Duration = Duration::from_secs(6);

fn mesh_config(config: &Config, plan: &Plan) -> Result<stage_signal::Config, StartError> {
    let tls = match &config.node.tls {
        Some(tls) => Some(Arc::new(Tls::load(tls.files())?)),
        None => None,
    };
    Ok(stage_signal::Config {
        tls,
        allow: config.allow.as_ref().map(config::allow::policy),
        peers: config.cluster.iter().map(ToString::to_string).collect(),
        names: config.names.iter().map(ToString::to_string).collect(),
        etcd: config.etcd.as_ref().map(|etcd| stage_signal::Etcd {
            endpoints: etcd.endpoints.iter().map(ToString::to_string).collect(),
            prefix: etcd.prefix.clone(),
            lease: LEASE,
        }),
        limits: config.limits.args(),
        frame_bytes: config.limits.args_bytes + (1 << 20),
        client_timeout: config.limits.handler,
        metadata: [Counting::metadata(plan)].into(),
        ..stage_signal::Config::default()
    })
}

fn options(config: &Config) -> Options {
    Options {
        settings: Arc::new(config.settings.clone()),
        workers: config.threads,
        mailbox: config.limits.mailbox,
        values: config.limits.args(),
        ask_timeout: config.limits.ask_timeout,
        handler_time: config.limits.handler,
        quantum: config.limits.quantum,
        busy_time: config.limits.busy,
        vm_memory: config.limits.vm_memory_bytes,
        handler_memory: config.limits.handler_memory_bytes,
        look: Some(config.reload.every).filter(|every| !every.is_zero()),
        rollback: config.reload.rollback.clone(),
        ..Options::default()
    }
}

/// The databases of `#db`.
#[cfg(feature = "db")]
fn databases(config: &Config, tickets: &TicketDesk) -> Result<Databases, StartError> {
    let mut databases = Databases::default();
    for (name, section) in &config.databases {
        let mut config = stage_db::Config::new(section.url.secret(), &section.folder)?;
        config.connections = section.connections;
        config.waiting = section.waiting;
        (config.timeout, config.wait) = (section.timeout, section.wait);
        (config.rows, config.bytes) = (section.rows, section.bytes);
        let gate = section.ticket.as_ref().map(|category| {
            // The other nodes are to get their turn.
            (config.lifetime, config.idle) = (TURN, IDLE);
            // A statement that begins at the end of the turn may take its time.
            let longest = TURN + 2 * config.timeout;
            let gate = TicketGate::new(tickets.clone(), category.to_shared(), longest);
            Arc::new(gate) as Arc<dyn stage_db::Gate>
        });
        let pool = stage_db::Pool::new(config, gate, tokio::runtime::Handle::current());
        databases = databases.with(name.as_str(), pool);
    }
    Ok(databases)
}

/// How long a connection with a ticket is used before its ticket goes to whoever waits for one.
#[cfg(feature = "db")]
const TURN: Duration = Duration::from_secs(1);

/// How long it may idle.
#[cfg(feature = "db")]
const IDLE: Duration = Duration::from_millis(100);

/// Without the feature, reading the configuration has refused each of them.
#[cfg(not(feature = "db"))]
#[allow(clippy::unnecessary_wraps, reason = "what it returns with the feature")]
fn databases(_: &Config, _: &TicketDesk) -> Result<Databases, StartError> {
    Ok(Databases::default())
}

/// The door for browsers and curl.
pub(super) fn gateway(section: &config::Gateway, limits: &config::Limits, mesh: &Mesh) -> Gateway {
    let config = stage_gateway::Config {
        clients: section.clients(),
        rate: section.rate,
        origins: section.origins.clone(),
        body_bytes: section.body_bytes,
        connections: section.connections,
        in_flight: section.in_flight,
        longest: limits.handler,
        ..stage_gateway::Config::default()
    };
    Gateway::new(mesh.clone(), config)
}

fn submit_limits(limits: &config::Limits) -> stage_submit::Limits {
    stage_submit::Limits::default().per_key(limits.submit_per_key).total(limits.submit_total)
}
