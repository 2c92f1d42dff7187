use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::{CategoryId, Stamp, Token};

/// What a resource keeps to refuse holders whose slot was given to somebody else.
///
/// Call [`admit`](Fence::admit) with the token that came with a request, before acting on it. Keep
/// the fence as durably as the resource itself. After a category's limit was lowered, the highest
/// slots are not given on, so their last holders stay admissible.
///
/// Fencing by a rising token is described in M. Kleppmann, "How to do distributed locking" (2016);
/// the slot makes it fit limits above one.
#[derive(Debug, Clone)]
pub struct Fence {
    newest: BTreeMap<(CategoryId, u32), Stamp>,
    max_slots: usize,
}

impl Fence {
    /// A fence that has seen nothing and remembers at most `max_slots` slots, over all categories.
    #[must_use]
    pub fn new(max_slots: usize) -> Self {
        Self { newest: BTreeMap::new(), max_slots }
    }

    /// Lets the holder of `token` act, unless its slot has been given on. O(log slots).
    ///
    /// # Errors
    ///
    /// [`FenceError::Stale`] when a newer holder of the slot was here, [`FenceError::TooManySlots`]
    /// when the token names a new slot and the fence is full.
    pub fn admit(&mut self, token: Token) -> Result<(), FenceError> {
        let full = self.newest.len() >= self.max_slots;
        match self.newest.entry((token.category, token.slot)) {
            Entry::Occupied(known) if token.stamp < *known.get() => {
                Err(FenceError::Stale { newest: *known.get() })
            }
            Entry::Occupied(mut known) => {
                known.insert(token.stamp);
                Ok(())
            }
            Entry::Vacant(_) if full => Err(FenceError::TooManySlots { max: self.max_slots }),
            Entry::Vacant(new) => {
                new.insert(token.stamp);
                Ok(())
            }
        }
    }
}

/// Why a fence refuses a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FenceError {
    /// The holder's slot was given to another, which has already been here.
    #[error("the ticket is over: its slot was given on (grant {newest}), acquire a new one")]
    Stale {
        /// The grant that came after.
        newest: Stamp,
    },
    /// The token names a slot the fence has no room to remember.
    #[error("the fence remembers {max} slots and this would be one more")]
    TooManySlots {
        /// The bound given to [`Fence::new`].
        max: usize,
    },
}
