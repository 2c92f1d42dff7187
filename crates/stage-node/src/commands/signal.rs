use std::io::Write;

use stage_signal::client::Client;
use stage_value::{Value, json};

use super::Failure;
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
    let client = Client::connect(&to).await.map_err(|error| {
        Failure::Failed(format!("no node answers at {to}: {error}; --to HOST:PORT names another"))
    })?;
    client
        .signal(&args.address.to_string(), args.args.clone(), args.wait)
        .await
        .map_err(|error| Failure::Failed(error.to_string()))
}

fn to_json(results: &[Value]) -> Result<serde_json::Value, json::NotJson> {
    match results {
        [] => Ok(serde_json::Value::Null),
        [result] => json::to_json(result),
        results => results.iter().map(json::to_json).collect(),
    }
}
