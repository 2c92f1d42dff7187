use std::io::Write;
use std::sync::Arc;

use stage_signal::client::Client;
use stage_signal::{Tls, TlsFiles};
use stage_value::{Value, json};

use super::Failure;
use super::failure::Usage;
use crate::cli::SignalArgs;

/// Signals a running node and prints the reply as JSON: the result, an array of several, or null.
///
/// # Errors
/// [`Failure::Failed`] if the node cannot be reached or the signal fails.
pub fn signal(args: &SignalArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(error.to_string()))?;
    let results = runtime.block_on(send(args))?;
    let json = to_json(&results).map_err(|error| {
        Failure::Failed(format!("the reply cannot be written as JSON: {error}"))
    })?;
    writeln!(out, "{json}")?;
    Ok(())
}

async fn send(args: &SignalArgs) -> Result<Vec<Value>, Failure> {
    let to = args.to.to_string();
    let connected = match tls(args)? {
        Some(tls) => Client::connect_tls(&to, &tls).await,
        None => Client::connect(&to).await,
    };
    let client = connected.map_err(|error| {
        Failure::Failed(format!("no node answers at {to}: {error}; --to HOST:PORT names another"))
    })?;
    let client = match args.traceparent {
        Some(trace) => client.traced(trace),
        None => client,
    };
    client
        .signal(&args.address.to_string(), args.args.clone(), args.wait)
        .await
        .map_err(|error| Failure::Failed(error.to_string()))
}

fn tls(args: &SignalArgs) -> Result<Option<Arc<Tls>>, Failure> {
    let (Some(cert), Some(key), Some(ca)) = (&args.cert, &args.key, &args.ca) else {
        return Ok(None);
    };
    let files = TlsFiles { cert: cert.clone(), key: key.clone(), ca: ca.clone() };
    let tls = Tls::load(files).map_err(|error| Failure::Usage(Usage::Other(error.to_string())))?;
    Ok(Some(Arc::new(tls)))
}

fn to_json(results: &[Value]) -> Result<serde_json::Value, json::NotJson> {
    match results {
        [] => Ok(serde_json::Value::Null),
        [result] => json::to_json(result),
        results => results.iter().map(json::to_json).collect(),
    }
}
