use std::time::Duration;

use crate::{CategoryName, ExtensionRefusal, Limit, NameError, Refusal};

/// Why there is no ticket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// The text is no name of a category.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Only listed categories exist, and this is none of them.
    #[error("unknown ticket category {category}{}", nearest_of(.nearest))]
    UnknownCategory {
        /// The name asked for.
        category: CategoryName,
        /// Known names that look like it, the most alike first; at most three.
        nearest: Vec<CategoryName>,
    },
    /// All permits are out, and the category does not queue or the caller would not wait.
    #[error("all {} permits of {category} are out", limit.permits())]
    Busy {
        /// The category.
        category: CategoryName,
        /// Its limit.
        limit: Limit,
    },
    /// As many wait as may wait.
    #[error("{max} already wait for a ticket of {category}, try again later")]
    QueueFull {
        /// The category.
        category: CategoryName,
        /// The bound.
        max: u32,
    },
    /// The category is closed.
    #[error("ticket category {category} is closed")]
    Closed {
        /// The category.
        category: CategoryName,
    },
    /// Its first use would make one category too many.
    #[error("no room for ticket category {category}: there are as many categories as may be")]
    TooManyCategories {
        /// The category.
        category: CategoryName,
    },
    /// The caller looked only after its grant had expired; the permit was given on.
    #[error("the ticket of {category} expired before it was picked up, acquire again")]
    TooLate {
        /// The category.
        category: CategoryName,
    },
    /// There is no connection to the coordinator, or it broke before the answer came.
    #[error("no ticket of {category}: the coordinator cannot be reached now")]
    Unreachable {
        /// The category.
        category: CategoryName,
    },
    /// As many requests of this node wait or hold as may.
    #[error("no ticket of {category}: {max} requests of this node wait or hold, as many as may")]
    TooManyRequests {
        /// The category.
        category: CategoryName,
        /// The bound.
        max: usize,
    },
    /// The coordinator refused for another reason.
    #[error("no ticket of {category} now: {refusal:?}")]
    Refused {
        /// The category.
        category: CategoryName,
        /// The reason.
        refusal: Refusal,
    },
}

fn nearest_of(nearest: &[CategoryName]) -> String {
    match nearest {
        [] => String::new(),
        names => {
            let names: Vec<&str> = names.iter().map(CategoryName::as_str).collect();
            format!(", did you mean {}?", names.join(" or "))
        }
    }
}

/// Why a ticket is not extended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExtendError {
    /// The ticket is over; its permit was given on.
    #[error("the ticket is over, stop and acquire a new one")]
    NotHeld,
    /// The extension is longer than one may be.
    #[error("an extension of {by:?} is too long, use at most {max:?}")]
    TooLong {
        /// The length asked for.
        by: Duration,
        /// The longest.
        max: Duration,
    },
    /// There is no connection to the coordinator, or it broke before the answer came. The ticket
    /// lives until its deadline.
    #[error(
        "no extension now (the coordinator cannot be reached), the ticket lives until its deadline"
    )]
    Unreachable,
    /// The coordinator may not issue now; the ticket lives until its deadline.
    #[error("no extension now ({refusal:?}), the ticket lives until its deadline")]
    Refused {
        /// The reason.
        refusal: ExtensionRefusal,
    },
}
