use std::sync::Arc;
use std::time::Duration;

use crate::{CategoryId, CategoryName, Limit, Stamp, Time, Token};

/// One run of one node. A node that restarts takes a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

/// A request, named by who made it and that node's own rising count.
///
/// A request that arrives twice is one request: the coordinator answers the second with what it
/// answered the first, and with [`Refusal::Finished`] once it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    /// The node.
    pub node: NodeId,
    /// Its count. A node numbers its requests in the order in which it sends them.
    pub count: u64,
}

/// The place of a waiter in its category's queue: under which coordinator it came, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Arrival {
    /// The epoch of the coordinator that gave the number.
    pub epoch: u64,
    /// That coordinator's count of arrivals.
    pub number: u64,
}

/// What happened, as the coordinator is told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Event {
    /// Somebody wants a grant.
    Requested {
        /// The request.
        request: RequestId,
        /// Of which category.
        category: CategoryId,
        /// Whether it would wait for a permit.
        waits: bool,
    },
    /// A request is given up. If it was granted meanwhile, the grant is released.
    Cancelled {
        /// The request.
        request: RequestId,
    },
    /// A holder wants to keep its grant until `by` from now.
    ExtensionRequested {
        /// The grant.
        token: Token,
        /// How long from now. It never shortens a grant.
        by: Duration,
    },
    /// A holder is done. Does nothing unless exactly this grant lives.
    Released {
        /// The grant.
        token: Token,
    },
    /// Time went by; wanted at [`Coordinator::next_timeout`](super::Coordinator::next_timeout).
    TimePassed,
    /// A category is used by name; it is made if the rules allow that.
    Used {
        /// The category.
        name: CategoryName,
    },
    /// A category is made or altered by an operator. A closed category opens again.
    Set {
        /// The category.
        name: CategoryName,
        /// Its limit from now on. Lowering it lets holders finish.
        limit: Limit,
        /// After this time it grants nothing more.
        close_after: Option<Duration>,
    },
    /// A category grants nothing more, until it is set again. Holders may finish.
    Closed {
        /// The category.
        category: CategoryId,
    },
    /// A message for everybody who holds a grant of a category.
    Broadcast {
        /// The category.
        category: CategoryId,
        /// The message.
        message: Arc<[u8]>,
    },
    /// A node promises to take grants from no older epoch, and tells all it knows.
    Reported {
        /// The node.
        node: NodeId,
        /// What it holds, waits for, and knows.
        report: Report,
    },
    /// A node is gone, until it reports again. Its waiters leave; its grants stay until they expire,
    /// for silence is no proof that a holder stopped.
    Vanished {
        /// The node.
        node: NodeId,
    },
    /// This coordinator may issue until then (by its own clock), by its leadership record.
    AuthorityExtended {
        /// The end of its authority.
        until: Time,
    },
}

/// All that a node knows of its tickets, for a coordinator that has yet to learn it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Report {
    /// The categories that its grants and waiters belong to.
    pub categories: Vec<ReportedCategory>,
    /// What it holds.
    pub grants: Vec<ReportedGrant>,
    /// What it waits for.
    pub waiters: Vec<ReportedWaiter>,
}

/// A category as a node last heard of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReportedCategory {
    /// Its name.
    pub name: CategoryName,
    /// Its limit.
    pub limit: Limit,
    /// When it was set, in the order of all settings; zero if nobody ever set it.
    pub version: Stamp,
    /// How long it stays open from now, if it closes; zero if it is closed.
    pub closes_in: Option<Duration>,
}

/// A grant that a node believes in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReportedGrant {
    /// The request it answers.
    pub request: RequestId,
    /// The grant.
    pub token: Token,
    /// How much longer the node will believe in it. The coordinator counts it from the receipt of
    /// the report, which is later than the node did.
    pub remaining: Duration,
}

/// A request that a node waits for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReportedWaiter {
    /// The request.
    pub request: RequestId,
    /// Its category.
    pub category: CategoryId,
    /// Its place in the queue, if a coordinator ever told it.
    pub arrival: Option<Arrival>,
}

/// Why a request gets no grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// Nobody set such a category and the rules make none.
    UnknownCategory,
    /// All permits are out and the category's limit is negative, or the request would not wait.
    Busy,
    /// As many wait as may wait in one category.
    QueueFull,
    /// The category grants nothing more.
    Closed,
    /// The coordinator may not issue now, and the request cannot wait for it.
    NoAuthority,
    /// The request was answered before and is over.
    Finished,
    /// As many nodes are known as may be.
    TooManyNodes,
}

/// Why a grant is not extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExtensionRefusal {
    /// No such grant lives: it expired, was released, or never was.
    NotHeld,
    /// The extension is longer than the rules allow.
    TooLong,
    /// The coordinator may not issue now. The grant lives until its deadline.
    NoAuthority,
}

/// What the driver has to carry out, in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Command {
    /// Tell the requester that it holds a grant.
    Grant {
        /// The request.
        request: RequestId,
        /// The grant.
        token: Token,
        /// When it ends, by the coordinator's clock.
        expires: Time,
    },
    /// Tell the requester that it waits.
    Enqueue {
        /// The request.
        request: RequestId,
        /// Its place, to be told to the next coordinator.
        arrival: Arrival,
    },
    /// Tell the requester that it gets nothing.
    Refuse {
        /// The request.
        request: RequestId,
        /// Why.
        refusal: Refusal,
    },
    /// Tell the holder its new deadline.
    Extend {
        /// The grant.
        token: Token,
        /// When it ends, by the coordinator's clock.
        expires: Time,
    },
    /// Tell the holder that its grant is not extended.
    RefuseExtension {
        /// The grant.
        token: Token,
        /// Why.
        refusal: ExtensionRefusal,
    },
    /// Tell the holder that its grant is over, though it did not release it.
    Revoke {
        /// The request that was granted.
        request: RequestId,
        /// The grant.
        token: Token,
    },
    /// Hand a message to a holder.
    Notify {
        /// The grant.
        token: Token,
        /// The message.
        message: Arc<[u8]>,
    },
    /// Log that a category was made by its first use.
    AnnounceCategory {
        /// Its name.
        name: CategoryName,
        /// Its limit.
        limit: Limit,
    },
    /// Tell whoever set or used a category that there is no room for it.
    RefuseCategory {
        /// Its name.
        name: CategoryName,
        /// Why.
        refusal: CategoryRefusal,
    },
}

/// Why a category is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CategoryRefusal {
    /// Only listed categories exist and this is none of them.
    Unlisted,
    /// As many categories exist as may be.
    TooMany,
    /// Another category has the same 64-bit id.
    SameId,
}
