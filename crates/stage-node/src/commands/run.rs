use std::future::Future;
use std::io::{self, IsTerminal};
use std::pin::pin;
use std::time::Duration;

use stage_lua::Output;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use super::{Failure, Usage};
use crate::cli::RunArgs;
use crate::config::{Config, Log, LogFormat};
use crate::node::{Node, StartError};

/// Runs a node until it is told to stop: by a signal, or when its time is over.
///
/// # Errors
/// [`Failure::Usage`] if the configuration is wrong, [`Failure::Failed`] if the node cannot start.
pub fn run(args: &RunArgs) -> Result<(), Failure> {
    let config = args.config()?;
    log_to_stderr(&config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("node")
        .build()
        .map_err(|error| Failure::Failed(format!("no threads for the node: {error}")))?;
    let result = runtime.block_on(serve(config, args.duration));
    // What a script left running must not hold up the end.
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

async fn serve(config: Config, duration: Option<Duration>) -> Result<(), Failure> {
    let told = told_to_stop(duration).map_err(|error| Failure::Failed(error.to_string()))?;
    let mut told = pin!(told);
    let started = tokio::select! {
        started = Node::start(config, Output::new(io::stdout())) => started,
        () = &mut told => {
            tracing::warn!("stopped before all scripts had started");
            return Ok(());
        }
    };
    let node = started.map_err(|error| match error {
        StartError::Listen { .. } | StartError::Script(_) => Failure::Failed(error.to_string()),
        asked_wrongly => Failure::Usage(Usage::Other(asked_wrongly.to_string())),
    })?;
    announce(&node);
    let cut = node.run(told).await;
    if cut > 0 {
        tracing::warn!(
            cut,
            "stopped before all work was done; #limits.drain_ms is how long a node waits"
        );
    }
    tracing::info!("stopped");
    Ok(())
}

fn announce(node: &Node) {
    match node.address() {
        Some(address) => tracing::info!(%address, "takes signals"),
        None => {
            tracing::info!("takes no signals from outside; --listen 127.0.0.1:7701 changes that");
        }
    }
    if let Some(address) = node.admin_address() {
        tracing::info!(%address, "operator's surface");
    }
    if let Some(address) = node.gateway_address() {
        tracing::info!(%address, "gateway for browsers and curl");
    }
}

/// Ends at SIGTERM, at SIGINT, or when the time is over. A second SIGINT ends the process at once.
fn told_to_stop(duration: Option<Duration>) -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        let over = async {
            match duration {
                Some(duration) => tokio::time::sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: finishing what was accepted"),
            _ = interrupt.recv() => {
                tracing::info!("SIGINT: finishing what was accepted; once more ends at once");
                tokio::spawn(end_at(interrupt));
            }
            () = over => {}
        }
    })
}

#[allow(clippy::exit, reason = "whoever interrupts twice wants the process to end now")]
async fn end_at(mut interrupt: tokio::signal::unix::Signal) {
    interrupt.recv().await;
    std::process::exit(1);
}

/// Sends the log to standard error. RUST_LOG wins over the configured filter.
fn log_to_stderr(log: &Log) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(&log.filter));
    let to_stderr = BoxMakeWriter::new(io::stderr);
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        // The steps of traces are spans; each is told when it ends.
        .with_span_events(FmtSpan::CLOSE)
        .with_writer(to_stderr);
    let set = match log.format {
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
        LogFormat::Text => subscriber.with_target(false).try_init(),
    };
    if let Err(error) = set {
        tracing::debug!(%error, "a log is in place already");
    }
}
