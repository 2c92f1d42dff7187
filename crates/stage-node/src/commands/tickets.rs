use std::io::Write;

use super::{Failure, status};
use crate::admin::{HolderState, StateView, TicketState};
use crate::cli::StatusArgs;

/// Prints who counts the tickets of the service, and every category.
///
/// # Errors
/// [`Failure::Failed`] if the node cannot be reached or does not answer with its state.
pub fn tickets(args: &StatusArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let text = status::ask(args)?;
    let view: StateView = status::understand(args, &text)?;
    if args.json {
        let tickets = serde_json::json!({
            "counting": view.ticket_counting,
            "categories": view.tickets,
        });
        writeln!(out, "{tickets:#}")?;
        return Ok(());
    }
    Ok(write_view(&view, out)?)
}

fn write_view(view: &StateView, out: &mut dyn Write) -> std::io::Result<()> {
    let counting = &view.ticket_counting;
    writeln!(out, "rule         {}", counting.rule)?;
    let count = counting.coordinators.len();
    for (at, coordinator) in (1..).zip(&counting.coordinators) {
        let shard = if count > 1 { format!("{at} of {count}: ") } else { String::new() };
        let place = match (&coordinator.address, coordinator.here) {
            (Some(address), true) => format!("{address}, which is this node ({})", view.node),
            (Some(address), false) => address.clone(),
            (None, true) => format!("this node ({})", view.node),
            (None, false) => "none now".to_owned(),
        };
        let epoch = coordinator.epoch.map(|epoch| format!(", epoch {epoch}")).unwrap_or_default();
        writeln!(out, "coordinator  {shard}{place}{epoch}")?;
        if let Some(why) = &coordinator.why {
            writeln!(out, "trouble      {shard}{why}")?;
        }
    }
    writeln!(out, "waiting here {}", counting.waiting_here)?;
    if view.tickets.is_empty() {
        return Ok(());
    }
    let width = view.tickets.keys().map(|name| name.chars().count()).max().unwrap_or(0).max(8);
    writeln!(
        out,
        "\n{:width$}  {:>8}  {:>6}  {:>7}  {:>9}  {:>10}  {:>10}  {:>8}  {:>8}",
        "category",
        "limit",
        "held",
        "waiting",
        "oldest ms",
        "waiting ms",
        "granted",
        "refused",
        "expired"
    )?;
    for (name, ticket) in &view.tickets {
        write_category(name, width, ticket, out)?;
    }
    write_holders(view, width, out)
}

fn write_category(
    name: &str,
    width: usize,
    ticket: &TicketState,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let shown = |age: Option<f64>| age.map_or_else(|| "-".to_owned(), |age| format!("{age:.0}"));
    let (oldest, waiting) = (shown(ticket.oldest_ms), shown(ticket.waiting_ms));
    let closed = if ticket.closed { "  closed" } else { "" };
    writeln!(
        out,
        "{name:width$}  {:>8}  {:>6}  {:>7}  {oldest:>9}  {waiting:>10}  {:>10}  {:>8}  {:>8}{closed}",
        ticket.limit, ticket.held, ticket.waiting, ticket.granted, ticket.refused, ticket.expired
    )
}

fn write_holders(view: &StateView, width: usize, out: &mut dyn Write) -> std::io::Result<()> {
    let held: Vec<_> =
        view.tickets.iter().filter(|(_, ticket)| !ticket.holders.is_empty()).collect();
    if held.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n{:width$}  {:>8}  {:>9}  {:>9}  {:<24}  node",
        "held", "slot", "age ms", "left ms", "ticket"
    )?;
    for (name, ticket) in held {
        for holder in &ticket.holders {
            let HolderState { node, slot, ticket, age_ms, left_ms } = holder;
            writeln!(
                out,
                "{name:width$}  {slot:>8}  {age_ms:>9.0}  {left_ms:>9.0}  {ticket:<24}  {node}"
            )?;
        }
        let more = ticket.held.saturating_sub(ticket.holders.len());
        if more > 0 {
            writeln!(out, "{name:width$}  and {more} younger ones")?;
        }
    }
    Ok(())
}
