use std::time::Duration;

use crate::coordinator::{CategoryView, Holding, Totals};
use crate::{CategoryName, Limit, Time, Token};

/// A category as it stands, see [`Tickets::stats`](crate::Tickets::stats).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CategoryStats {
    /// Its name.
    pub name: CategoryName,
    /// Its limit.
    pub limit: Limit,
    /// Whether it grants nothing more.
    pub closed: bool,
    /// How many hold a ticket.
    pub holders: u32,
    /// How old the oldest ticket is.
    pub oldest: Option<Duration>,
    /// How many wait.
    pub waiters: u32,
    /// How long the first in the queue has waited; after a takeover, since the new coordinator knows it.
    pub waiting: Option<Duration>,
    /// What happened so far.
    pub totals: Totals,
    /// Some or all of the holders, if they were [asked for](crate::Tickets::stats_with_holders), the oldest first.
    pub listed: Vec<HolderStats>,
}

/// A holder of a ticket, see [`Tickets::holders`](crate::Tickets::holders).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HolderStats {
    /// The grant.
    pub token: Token,
    /// The node that holds it: its name, or its number if it has said none. Empty if it is this process.
    pub node: String,
    /// How old it is.
    pub age: Duration,
    /// How much longer it lives unless it is extended.
    pub remaining: Duration,
}

impl CategoryStats {
    pub(super) fn of(category: CategoryView<'_>, listed: usize, now: Time) -> Self {
        let holders = category.oldest_holders(listed).into_iter();
        Self {
            name: category.name().clone(),
            limit: category.limit(),
            closed: category.is_closed(now),
            holders: category.holder_count(),
            oldest: category.holders().map(|holding| now.since(holding.issued)).max(),
            waiters: category.waiter_count(),
            waiting: category.waiting_since().map(|since| now.since(since)),
            totals: category.totals(),
            listed: holders.map(|holding| HolderStats::of(holding, now)).collect(),
        }
    }
}

impl HolderStats {
    pub(super) fn of(holding: Holding, now: Time) -> Self {
        let Holding { token, issued, expires, .. } = holding;
        Self { token, node: String::new(), age: now.since(issued), remaining: expires.since(now) }
    }
}
