use std::fmt;
use std::str::FromStr;

use crate::CategoryId;

/// Proof of one grant, for those who must refuse a holder that is late.
///
/// A category with a limit of N has N slots, and a slot has one holder at a time. A slot's next
/// holder has a greater [`Stamp`] than all before it, so a resource that remembers the greatest
/// stamp **of each slot** ([`Fence`](crate::Fence)) refuses exactly those holders whose slot was
/// given on. One maximum for the whole category would refuse holders that are still entitled.
///
/// Its text form (`Display`, `FromStr`) is `category.slot.epoch.sequence`, the category in hex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    /// The category of the grant.
    pub category: CategoryId,
    /// The slot of the category that the grant occupies.
    pub slot: u32,
    /// When the grant was made, in the order of all grants.
    pub stamp: Stamp,
}

/// The place of a grant in the order of all grants: first the coordinator's epoch, then its count.
///
/// It names a grant uniquely; `epoch-sequence` is its text form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// The epoch of the coordinator that made the grant.
    pub epoch: u64,
    /// The count of grants of that coordinator.
    pub sequence: u64,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.sequence)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stamp { epoch, sequence } = self.stamp;
        write!(f, "{}.{}.{epoch}.{sequence}", self.category, self.slot)
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let mut parts = text.splitn(4, '.');
        let mut part = || parts.next().ok_or(TokenError);
        let (category, slot, epoch, sequence) = (part()?, part()?, part()?, part()?);
        let category = u64::from_str_radix(category, 16).map_err(|_| TokenError)?;
        let number = |text: &str| text.parse::<u64>().map_err(|_| TokenError);
        Ok(Self {
            category: CategoryId(category),
            slot: slot.parse().map_err(|_| TokenError)?,
            stamp: Stamp { epoch: number(epoch)?, sequence: number(sequence)? },
        })
    }
}

/// A text that is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a token: expected category.slot.epoch.sequence")]
pub struct TokenError;
