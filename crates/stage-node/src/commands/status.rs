use std::io::Write;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::Failure;
use crate::admin::StateView;
use crate::cli::StatusArgs;

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The most bytes of an answer.
const ANSWER_BYTES: usize = 16 << 20;

/// Prints what a running node is doing.
///
/// # Errors
/// [`Failure::Failed`] if the node cannot be reached or does not answer with its state.
pub fn status(args: &StatusArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let text = ask(args)?;
    if args.json {
        writeln!(out, "{text}")?;
        return Ok(());
    }
    write_view(&understand::<StateView>(args, &text)?, out)
}

/// The node's state, as it gives it.
pub(super) fn ask(args: &StatusArgs) -> Result<String, Failure> {
    super::block_on(request(args, "/api/state", PATIENCE))?
}

pub(super) fn understand<T: DeserializeOwned>(args: &StatusArgs, text: &str) -> Result<T, Failure> {
    serde_json::from_str(text)
        .map_err(|error| no_answer(args, &format!("what answers is no STAGE node ({error})")))
}

/// What the node's surface answers to a GET.
pub(super) async fn request(
    args: &StatusArgs,
    path: &str,
    patience: Duration,
) -> Result<String, Failure> {
    let answer = timeout(patience, fetch(args, path)).await;
    answer.map_err(|_| no_answer(args, "it does not answer in time"))?
}

async fn fetch(args: &StatusArgs, path: &str) -> Result<String, Failure> {
    let fail = |error: &dyn std::fmt::Display| no_answer(args, &error.to_string());
    let mut request = axum::http::Request::get(format!("http://{}{path}", args.admin));
    if let Some(token) = &args.token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request.body(Empty::<&[u8]>::new()).map_err(|error| fail(&error))?;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = client.request(request).await.map_err(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        no_answer(args, &cause.unwrap_or_else(|| error.to_string()))
    })?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES)
        .collect()
        .await
        .map_err(|error| fail(&error))?
        .to_bytes();
    let text = String::from_utf8_lossy(&body).into_owned();
    if !status.is_success() {
        return Err(fail(&format!("{status}: {}", text.trim_end())));
    }
    Ok(text)
}

fn no_answer(args: &StatusArgs, why: &str) -> Failure {
    let address = &args.admin;
    Failure::Failed(format!(
        "no answer from {address}: {why}; --admin HOST:PORT names another node"
    ))
}

/// The state as a person reads it.
fn write_view(view: &StateView, out: &mut dyn Write) -> Result<(), Failure> {
    let route = &view.route;
    writeln!(out, "node    {}  ({}: {})", view.node, route.state, route.reason)?;
    writeln!(out, "stages  {}", view.stages.join(", "))?;
    writeln!(
        out,
        "delay   {:.2} ms of {:.2} ms; a message costs {:.3} ms; {:.0} % busy; left {} times",
        route.delay_ms,
        route.threshold_ms,
        route.baseline_ms,
        route.utilisation * 100.0,
        route.leaves
    )?;
    table(
        out,
        ["peer", "address", "state"],
        view.peers.iter().map(|peer| [peer.name.clone(), peer.address.clone(), peer.state.clone()]),
    )?;
    table(
        out,
        ["queue", "waiting", "running"],
        view.queues.iter().map(|(name, queue)| {
            [name.clone(), queue.waiting.to_string(), queue.running.to_string()]
        }),
    )?;
    table(
        out,
        ["ticket", "limit", "held+waiting"],
        view.tickets.iter().map(|(name, ticket)| {
            let held = format!("{}+{}", ticket.held, ticket.waiting);
            [name.clone(), ticket.limit.to_string(), held]
        }),
    )?;
    table(
        out,
        ["counter", "", "value"],
        view.counters.iter().map(|(name, value)| [name.clone(), String::new(), value.to_string()]),
    )
}

/// Rows below a head, in columns; nothing if there is no row.
fn table(
    out: &mut dyn Write,
    head: [&str; 3],
    rows: impl Iterator<Item = [String; 3]>,
) -> Result<(), Failure> {
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return Ok(());
    }
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].len()]).max().unwrap_or(0)
    };
    let (first, second) = (width(0), width(1));
    writeln!(out, "\n{:first$}  {:second$}  {}", head[0], head[1], head[2])?;
    for [a, b, c] in &rows {
        writeln!(out, "{a:first$}  {b:second$}  {c}")?;
    }
    Ok(())
}
