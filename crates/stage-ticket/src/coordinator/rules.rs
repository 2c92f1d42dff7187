use std::time::Duration;

use crate::{Drift, Limit};

/// What a coordinator is bound by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rules {
    /// What the first use of a category that nobody set does.
    pub unlisted: Unlisted,
    /// How long a grant is for, unless it is extended.
    pub grant: Duration,
    /// The longest a grant may be extended to, from the moment of the extension.
    pub max_grant: Duration,
    /// How many may wait in one category.
    pub max_waiters: u32,
    /// How many categories may be.
    pub max_categories: usize,
    /// How many nodes may be.
    pub max_nodes: usize,
    /// How far a node's clock and the coordinator's may run apart.
    pub drift: Drift,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            unlisted: Unlisted::Create(Limit::ONE),
            grant: Duration::from_secs(1),
            max_grant: Duration::from_secs(3600),
            max_waiters: 1 << 20,
            max_categories: 10_000,
            max_nodes: 10_000,
            drift: Drift::NTP,
        }
    }
}

/// What the first use of a category that nobody set does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unlisted {
    /// It makes the category, with this limit, and says so in the log.
    Create(Limit),
    /// It is an error.
    Refuse,
}
