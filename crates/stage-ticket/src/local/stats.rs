use std::time::Duration;

use crate::coordinator::{CategoryView, Totals};
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
    /// What happened so far.
    pub totals: Totals,
}

/// A holder of a ticket, see [`Tickets::holders`](crate::Tickets::holders).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HolderStats {
    /// The grant.
    pub token: Token,
    /// How old it is.
    pub age: Duration,
    /// How much longer it lives unless it is extended.
    pub remaining: Duration,
}

impl CategoryStats {
    pub(super) fn of(category: CategoryView<'_>, now: Time) -> Self {
        Self {
            name: category.name().clone(),
            limit: category.limit(),
            closed: category.is_closed(now),
            holders: category.holder_count(),
            oldest: category.holders().map(|(_, issued, _)| now.since(issued)).max(),
            waiters: category.waiter_count(),
            totals: category.totals(),
        }
    }
}

impl HolderStats {
    pub(super) fn of((token, issued, expires): (Token, Time, Time), now: Time) -> Self {
        Self { token, age: now.since(issued), remaining: expires.since(now) }
    }
}
