use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use stage_lua::{Output, ReadError, Runtime, Script};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::{Node, Shared, durable, parts};
use crate::config::{Config, Startup};
use crate::tickets::TicketsError;

/// A node that cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A port cannot be opened.
    #[error("cannot listen on {address} for {what}: {source}; choose another port by {key}")]
    Listen {
        /// What would be served there.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// The configuration key and flag that change it.
        key: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// A script cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What was saved of the shared variables cannot be read.
    #[error("#snapshot: {0}")]
    Saved(#[from] stage_snapshot::LoadError),
    /// A saved variable cannot be read.
    #[error("#snapshot: the variable {name} in {}: {reason}; move the file away", file.display())]
    Variable {
        /// Which variable.
        name: String,
        /// Where it was saved.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The system refuses a thread.
    #[error("cannot start a thread for the shared variables: {0}")]
    Thread(io::Error),
    /// A script is not Lua, or raised an error before its first wait.
    #[error("{0}")]
    Script(#[from] stage_lua::StartError),
    /// The links to other nodes cannot be set up.
    #[error("the links to other nodes: {0}")]
    Mesh(#[from] stage_signal::ConfigError),
    /// The certificate cannot be used.
    #[error("#node.tls: {0}")]
    Tls(#[from] stage_signal::TlsError),
    /// The tickets cannot be set up.
    #[error(transparent)]
    Tickets(#[from] TicketsError),
    /// A database cannot be set up.
    #[cfg(feature = "db")]
    #[error("#db: {0}")]
    Database(#[from] stage_db::ConfigError),
    /// The route control cannot be set up.
    #[error("#route: {0}")]
    Route(#[from] stage_route::ConfigError),
}

impl Node {
    /// Opens the ports, starts the scripts and composes the parts. What fails leaves nothing behind.
    ///
    /// # Errors
    /// [`StartError`] says what cannot be had and what to change.
    pub async fn start(config: Config, output: Output) -> Result<Self, StartError> {
        let scripts = read_scripts(&config.startup)?;
        let listener = match config.node.listen {
            Some(address) => Some(bind("signals", address, "#node.listen or --listen").await?),
            None => None,
        };
        let admin = match &config.admin {
            Some(admin) => {
                let key = "#admin.listen or --admin";
                let listener = bind("the operator", admin.listen, key).await?;
                Some((listener, admin.token.clone()))
            }
            None => None,
        };
        let gateway = match &config.gateway {
            Some(gateway) => Some(bind("the gateway", gateway.listen, "#gateway.listen").await?),
            None => None,
        };
        let address = listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let built = parts::build(&config, address, output)?;
        let saving = match &config.snapshot {
            Some(snapshot) => {
                let keep = durable::keep(snapshot, Arc::clone(&built.variables));
                Some(keep.map_err(StartError::Thread)?)
            }
            None => None,
        };
        start_scripts(&built.runtime, &config.startup, &scripts).await?;
        let gateway = gateway.zip(config.gateway.as_ref()).map(|(listener, section)| {
            (listener, parts::gateway(section, &config.limits, &built.mesh))
        });
        let door = gateway.as_ref().map(|(_, gateway)| gateway.clone());
        let shared = Shared {
            gateway: door,
            name: config.node.name,
            stages: config.startup.into_iter().map(|startup| startup.stage).collect(),
            mesh: built.mesh,
            submitter: built.submitter,
            tickets: built.tickets,
            route: built.route,
            runtime: built.runtime,
            standing: built.standing,
            variables: built.variables,
            databases: built.databases,
            history: Mutex::default(),
            begun: Instant::now(),
            saving: Mutex::new(saving),
        };
        Ok(Self { shared: Arc::new(shared), listener, admin, gateway, drain: config.limits.drain })
    }
}

/// Starts the stages of a configuration.
///
/// # Errors
/// [`StartError`] if a script cannot be read, or does not start.
pub(crate) async fn start_stages(runtime: &Runtime, config: &Config) -> Result<(), StartError> {
    let scripts = read_scripts(&config.startup)?;
    start_scripts(runtime, &config.startup, &scripts).await
}

async fn start_scripts(
    runtime: &Runtime,
    startup: &[Startup],
    scripts: &[Script],
) -> Result<(), StartError> {
    for (startup, script) in startup.iter().zip(scripts) {
        runtime.start_stage(&startup.stage, script, startup.instances).await?;
    }
    Ok(())
}

/// Reads and compiles all scripts, so that none runs if one is wrong.
fn read_scripts(startup: &[Startup]) -> Result<Vec<Script>, StartError> {
    startup
        .iter()
        .map(|startup| {
            let script = Script::read(startup.script.as_path())?;
            stage_lua::check(&script)?;
            Ok(script)
        })
        .collect()
}

async fn bind(
    what: &'static str,
    address: SocketAddr,
    key: &'static str,
) -> Result<TcpListener, StartError> {
    let refuse = |source| StartError::Listen { what, address, key, source };
    TcpListener::bind(address).await.map_err(refuse)
}
