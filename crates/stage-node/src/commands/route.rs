use std::io::Write;

use super::{Failure, status};
use crate::admin::StateView;
use crate::cli::{RouteArgs, StatusArgs};

/// Prints the route control of running nodes, one line each, and what their peers say of themselves.
///
/// # Errors
/// [`Failure::Failed`] if a node cannot be reached or does not answer with its state; the nodes
/// before it are printed.
pub fn route(args: &RouteArgs, out: &mut dyn Write) -> Result<(), Failure> {
    writeln!(out, "{HEAD}")?;
    for admin in &args.admin {
        let node = StatusArgs { admin: admin.clone(), json: false, token: args.token.clone() };
        let view = status::understand(&node, &status::ask(&node)?)?;
        write_lines(&view, out)?;
    }
    Ok(())
}

const HEAD: &str = "node              state     delay ms  limit ms   cost ms  busy %  left  why";

fn write_lines(view: &StateView, out: &mut dyn Write) -> std::io::Result<()> {
    let route = &view.route;
    writeln!(
        out,
        "{:16}  {:8}  {:8.2}  {:8.2}  {:8.3}  {:6.0}  {:4}  {}",
        view.node,
        route.state,
        route.delay_ms,
        route.threshold_ms,
        route.baseline_ms,
        route.utilisation * 100.0,
        route.leaves,
        route.reason
    )?;
    for peer in &view.peers {
        let why = peer.why.as_deref().unwrap_or_default();
        let line = format!("  {:14}  {:8}  {why}", peer.name, peer.state);
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
