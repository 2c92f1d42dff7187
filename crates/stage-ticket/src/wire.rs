//! Between the messages of `stage/ticket/v1` and the types of this crate.

use std::time::Duration;

use stage_proto::ticket::v1 as proto;

use crate::coordinator::{
    Arrival, CategoryRefusal, CategoryView, ExtensionRefusal, NodeId, Refusal, Report,
    ReportedCategory, ReportedGrant, ReportedWaiter, RequestId,
};
use crate::{
    CategoryId, CategoryName, Limit, LimitError, NameError, Shard, Shards, ShardsError, Stamp,
    Time, Token,
};

/// The version of the protocol that this crate speaks.
pub(crate) const VERSION: u32 = 1;

/// Why a message of a peer cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// A field that must be there is not.
    #[error("a message without its {0}")]
    Missing(&'static str),
    /// A category's name is no name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A category's limit is no limit.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// A number of shards is none.
    #[error(transparent)]
    Shards(#[from] ShardsError),
    /// A shard that is not among those there are.
    #[error("shard {index} of {count}, counted from 0")]
    Shard {
        /// Which one.
        index: u32,
        /// Of how many.
        count: u32,
    },
    /// A category was sought in a shard that it does not belong to.
    #[error("category {category} is not of shard {shard}")]
    Misplaced {
        /// The category.
        category: CategoryName,
        /// The shard.
        shard: Shard,
    },
}

/// A node's name that cannot be listed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a node's name of {bytes} bytes or with control characters: use at most 255 printable bytes"
)]
pub struct NodeNameError {
    /// How long it is.
    pub bytes: usize,
}

/// Whether a node may go by this name; operators read it in a terminal.
pub(crate) fn node_name(name: &str) -> Result<(), NodeNameError> {
    let fits = name.len() <= 255 && !name.chars().any(char::is_control);
    fits.then_some(()).ok_or(NodeNameError { bytes: name.len() })
}

/// The part of the categories that a message is about.
pub(crate) fn shard(shard: Option<proto::Shard>) -> Result<Shard, WireError> {
    let Some(proto::Shard { index, count }) = shard else { return Ok(Shard::WHOLE) };
    let shards = Shards::try_new(count)?;
    shards.all().find(|shard| shard.index() == index).ok_or(WireError::Shard { index, count })
}

/// A coordinator of everything needs no mention.
pub(crate) fn shard_message(shard: Shard) -> Option<proto::Shard> {
    let (index, count) = (shard.index(), shard.of().count());
    (shard != Shard::WHOLE).then_some(proto::Shard { index, count })
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

pub(crate) fn token(token: Option<proto::Token>) -> Result<Token, WireError> {
    let proto::Token { category, slot, epoch, sequence } =
        token.ok_or(WireError::Missing("token"))?;
    let stamp = Stamp { epoch, sequence };
    Ok(Token { category: CategoryId(category), slot, stamp })
}

pub(crate) fn token_message(token: Token) -> proto::Token {
    let Token { category, slot, stamp: Stamp { epoch, sequence } } = token;
    proto::Token { category: category.0, slot, epoch, sequence }
}

pub(crate) fn stamp(stamp: Option<proto::Stamp>) -> Stamp {
    let proto::Stamp { epoch, sequence } = stamp.unwrap_or_default();
    Stamp { epoch, sequence }
}

pub(crate) fn stamp_message(stamp: Stamp) -> proto::Stamp {
    proto::Stamp { epoch: stamp.epoch, sequence: stamp.sequence }
}

pub(crate) fn arrival(stamp: proto::Stamp) -> Arrival {
    Arrival { epoch: stamp.epoch, number: stamp.sequence }
}

pub(crate) fn arrival_message(arrival: Arrival) -> proto::Stamp {
    proto::Stamp { epoch: arrival.epoch, sequence: arrival.number }
}

/// A limit as it is written: negative if nobody waits.
pub(crate) fn written(limit: Limit) -> i64 {
    let permits = i64::from(limit.permits());
    if limit.queues() { permits } else { -permits }
}

/// What `node` reports.
pub(crate) fn report(node: NodeId, report: proto::Report) -> Result<Report, WireError> {
    let request = |count| RequestId { node, count };
    let categories = report.categories.iter().map(reported_category);
    let grants = report.grants.into_iter().map(|grant| {
        let remaining = Duration::from_nanos(grant.remaining_ns);
        Ok(ReportedGrant { request: request(grant.count), token: token(grant.token)?, remaining })
    });
    let waiters = report.waiters.into_iter().map(|waiter| ReportedWaiter {
        request: request(waiter.count),
        category: CategoryId(waiter.category),
        arrival: waiter.arrival.map(arrival),
    });
    Ok(Report {
        categories: categories.collect::<Result<_, WireError>>()?,
        grants: grants.collect::<Result<_, WireError>>()?,
        waiters: waiters.collect(),
    })
}

fn reported_category(category: &proto::ReportedCategory) -> Result<ReportedCategory, WireError> {
    Ok(ReportedCategory {
        name: CategoryName::try_new(&category.name)?,
        limit: Limit::try_new(category.limit)?,
        version: stamp(category.version),
        closes_in: category.closes_in_ns.map(Duration::from_nanos),
    })
}

/// A category as its users are told.
pub(crate) fn category_message(category: CategoryView<'_>, now: Time) -> proto::Category {
    proto::Category {
        name: category.name().as_str().to_owned(),
        limit: written(category.limit()),
        version: Some(stamp_message(category.version())),
        closes_in_ns: category.closes_at().map(|at| nanos(at.since(now))),
    }
}

pub(crate) fn category_refusal_message(refusal: CategoryRefusal) -> proto::CategoryReason {
    match refusal {
        CategoryRefusal::Unlisted => proto::CategoryReason::Unlisted,
        CategoryRefusal::TooMany => proto::CategoryReason::TooMany,
        CategoryRefusal::SameId => proto::CategoryReason::SameId,
    }
}

pub(crate) fn category_refusal(reason: proto::CategoryReason) -> CategoryRefusal {
    match reason {
        proto::CategoryReason::TooMany => CategoryRefusal::TooMany,
        proto::CategoryReason::SameId => CategoryRefusal::SameId,
        proto::CategoryReason::Unlisted | proto::CategoryReason::Unspecified => {
            CategoryRefusal::Unlisted
        }
    }
}

pub(crate) fn refusal_message(refusal: Refusal) -> proto::Refusal {
    match refusal {
        Refusal::UnknownCategory => proto::Refusal::UnknownCategory,
        Refusal::Busy => proto::Refusal::Busy,
        Refusal::QueueFull => proto::Refusal::QueueFull,
        Refusal::Closed => proto::Refusal::Closed,
        Refusal::NoAuthority => proto::Refusal::NoAuthority,
        Refusal::Finished => proto::Refusal::Finished,
        Refusal::TooManyNodes => proto::Refusal::TooManyNodes,
    }
}

/// A reason that this version does not know counts as a lack of authority: try again later.
pub(crate) fn refusal(reason: proto::Refusal) -> Refusal {
    match reason {
        proto::Refusal::UnknownCategory => Refusal::UnknownCategory,
        proto::Refusal::Busy => Refusal::Busy,
        proto::Refusal::QueueFull => Refusal::QueueFull,
        proto::Refusal::Closed => Refusal::Closed,
        proto::Refusal::Finished => Refusal::Finished,
        proto::Refusal::TooManyNodes => Refusal::TooManyNodes,
        proto::Refusal::NoAuthority | proto::Refusal::Unspecified => Refusal::NoAuthority,
    }
}

pub(crate) fn extension_refusal_message(refusal: ExtensionRefusal) -> proto::ExtensionRefusal {
    match refusal {
        ExtensionRefusal::NotHeld => proto::ExtensionRefusal::NotHeld,
        ExtensionRefusal::TooLong => proto::ExtensionRefusal::TooLong,
        ExtensionRefusal::NoAuthority => proto::ExtensionRefusal::NoAuthority,
    }
}

pub(crate) fn extension_refusal(reason: proto::ExtensionRefusal) -> ExtensionRefusal {
    match reason {
        proto::ExtensionRefusal::NotHeld => ExtensionRefusal::NotHeld,
        proto::ExtensionRefusal::TooLong => ExtensionRefusal::TooLong,
        proto::ExtensionRefusal::NoAuthority | proto::ExtensionRefusal::Unspecified => {
            ExtensionRefusal::NoAuthority
        }
    }
}
