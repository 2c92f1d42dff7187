use std::io::Write;

use serde::Serialize;

use super::{Failure, status};
use crate::admin::{Bottleneck, PeerState, RouteState, StateView};
use crate::cli::{RouteArgs, StatusArgs};

/// Prints the route control of running nodes: of each a line, what is its bottleneck, why it changed its state lately, and
/// what its peers say of themselves.
///
/// # Errors
/// [`Failure::Failed`] if a node cannot be reached or does not answer with its state; the nodes
/// before it are printed, unless all come as one JSON text.
pub fn route(args: &RouteArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let mut views = args.admin.iter().map(|admin| -> Result<StateView, Failure> {
        let node = StatusArgs { admin: admin.clone(), json: false, token: args.token.clone() };
        status::understand(&node, &status::ask(&node)?)
    });
    if args.json {
        let views = views.collect::<Result<Vec<_>, _>>()?;
        let nodes: Vec<_> = views.iter().map(NodeRoute::of).collect();
        let text = serde_json::to_string(&nodes);
        let text = text.map_err(|error| Failure::Failed(error.to_string()))?;
        return Ok(writeln!(out, "{text}")?);
    }
    writeln!(out, "{HEAD}")?;
    views.try_for_each(|view| Ok(write_lines(&view?, out)?))
}

/// A node, for programs.
#[derive(Serialize)]
struct NodeRoute<'a> {
    node: &'a str,
    route: &'a RouteState,
    bottleneck: &'a Option<Bottleneck>,
    peers: &'a [PeerState],
}

impl<'a> NodeRoute<'a> {
    fn of(view: &'a StateView) -> Self {
        let StateView { node, route, bottleneck, peers, .. } = view;
        Self { node, route, bottleneck, peers }
    }
}

const HEAD: &str =
    "node              state     delay ms  limit ms   cost ms  busy %  takes %  left  why";

/// How many changes are shown.
const CHANGES: usize = 4;

fn write_lines(view: &StateView, out: &mut dyn Write) -> std::io::Result<()> {
    let route = &view.route;
    writeln!(
        out,
        "{:16}  {:8}  {:8.2}  {:8.2}  {:8.3}  {:6.0}  {:7.0}  {:4}  {}",
        view.node,
        route.state,
        route.delay_ms,
        route.threshold_ms,
        route.baseline_ms,
        route.utilisation * 100.0,
        route.credit * 100.0,
        route.leaves,
        route.reason
    )?;
    if let Some(bottleneck) = &view.bottleneck {
        writeln!(out, "  bottleneck: {}", bottleneck.advice)?;
    }
    for change in route.changes.iter().take(CHANGES) {
        let ago = change.ago_ms / 1000.0;
        writeln!(out, "  {ago:.1} s ago: {} to {}: {}", change.from, change.to, change.reason)?;
    }
    for peer in &view.peers {
        let why = peer.why.as_deref().unwrap_or_default();
        let line = format!("  {:14}  {:8}  {why}", peer.name, peer.state);
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
