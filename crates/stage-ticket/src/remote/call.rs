use std::time::Duration;

use stage_proto::ticket::v1 as proto;

use crate::coordinator::Totals;
use crate::wire::{self, WireError};
use crate::{CategoryName, CategoryStats, HolderStats, Limit};

/// Why a coordinator elsewhere did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// There is no connection to a coordinator.
    #[error("the coordinator cannot be reached now")]
    Unreachable,
    /// The coordinator said no.
    #[error("the coordinator refused: {why}")]
    Refused {
        /// Its words.
        why: String,
    },
    /// The message is longer than one to holders may be.
    #[error("a broadcast of {bytes} bytes, and {most} may be: send what names the rest")]
    MessageTooLong {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        most: usize,
    },
    /// Its answer makes no sense.
    #[error("the coordinator broke the protocol: {0}")]
    Malformed(#[from] WireError),
}

/// The longest message to holders, in bytes: it is kept for every node that holds a grant.
pub(crate) const MAX_MESSAGE: usize = 1 << 16;

/// Whether a message to holders may be sent.
pub(crate) fn message_fits(message: &[u8]) -> Result<(), CallError> {
    let (bytes, most) = (message.len(), MAX_MESSAGE);
    if bytes <= most { Ok(()) } else { Err(CallError::MessageTooLong { bytes, most }) }
}

impl From<tonic::Status> for CallError {
    fn from(status: tonic::Status) -> Self {
        match status.code() {
            tonic::Code::Unavailable => Self::Unreachable,
            _ => Self::Refused { why: status.message().to_owned() },
        }
    }
}

/// A category as a coordinator elsewhere describes it.
pub(super) fn stats(state: &proto::CategoryState) -> Result<CategoryStats, CallError> {
    let totals = Totals { granted: state.granted, refused: state.refused, expired: state.expired };
    Ok(CategoryStats {
        name: CategoryName::try_new(&state.name).map_err(WireError::from)?,
        limit: Limit::try_new(state.limit).map_err(WireError::from)?,
        closed: state.closed,
        holders: state.holders,
        oldest: state.oldest_ms.map(Duration::from_millis),
        waiters: state.waiters,
        waiting: state.waiting_ms.map(Duration::from_millis),
        totals,
        listed: state.listed.iter().map(holder).collect::<Result<_, _>>()?,
    })
}

fn holder(holder: &proto::Holder) -> Result<HolderStats, CallError> {
    let unnamed = || format!("{:016x}", holder.node);
    Ok(HolderStats {
        token: wire::token(holder.token)?,
        node: if holder.name.is_empty() { unnamed() } else { holder.name.clone() },
        age: Duration::from_millis(holder.age_ms),
        remaining: Duration::from_millis(holder.left_ms),
    })
}
