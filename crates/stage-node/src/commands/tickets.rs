use std::io::Write;

use super::{Failure, status};
use crate::admin::{StateView, TicketState};
use crate::cli::StatusArgs;

/// Prints who counts the tickets of the service, and every category.
///
/// # Errors
/// [`Failure::Failed`] if the node cannot be reached or does not answer with its state.
pub fn tickets(args: &StatusArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let text = status::ask(args)?;
    let view = status::understand(args, &text)?;
    if args.json {
        let tickets = serde_json::json!({
            "coordinator": view.ticket_coordinator,
            "categories": view.tickets,
        });
        writeln!(out, "{tickets:#}")?;
        return Ok(());
    }
    Ok(write_view(&view, out)?)
}

fn write_view(view: &StateView, out: &mut dyn Write) -> std::io::Result<()> {
    let coordinator = &view.ticket_coordinator;
    writeln!(out, "rule         {}", coordinator.rule)?;
    let place = match (&coordinator.address, coordinator.here) {
        (Some(address), true) => format!("{address}, which is this node ({})", view.node),
        (Some(address), false) => address.clone(),
        (None, true) => format!("this node ({})", view.node),
        (None, false) => "none now".to_owned(),
    };
    let epoch = coordinator.epoch.map(|epoch| format!(", epoch {epoch}")).unwrap_or_default();
    writeln!(out, "coordinator  {place}{epoch}")?;
    if let Some(why) = &coordinator.why {
        writeln!(out, "trouble      {why}")?;
    }
    writeln!(out, "waiting here {}", coordinator.waiting_here)?;
    if view.tickets.is_empty() {
        return Ok(());
    }
    let width = view.tickets.keys().map(|name| name.chars().count()).max().unwrap_or(0).max(8);
    writeln!(
        out,
        "\n{:width$}  {:>8}  {:>6}  {:>7}  {:>9}  {:>10}  {:>8}  {:>8}",
        "category", "limit", "held", "waiting", "oldest ms", "granted", "refused", "expired"
    )?;
    for (name, ticket) in &view.tickets {
        write_category(name, width, ticket, out)?;
    }
    Ok(())
}

fn write_category(
    name: &str,
    width: usize,
    ticket: &TicketState,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let oldest = ticket.oldest_ms.map_or_else(|| "-".to_owned(), |age| format!("{age:.0}"));
    let closed = if ticket.closed { "  closed" } else { "" };
    writeln!(
        out,
        "{name:width$}  {:>8}  {:>6}  {:>7}  {oldest:>9}  {:>10}  {:>8}  {:>8}{closed}",
        ticket.limit, ticket.held, ticket.waiting, ticket.granted, ticket.refused, ticket.expired
    )
}
