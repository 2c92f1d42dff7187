//! Maps by the ids of a link.

use std::collections::HashMap;

/// What is kept by id. The ids of a peer are its own choice, so they are hashed with a key; nothing depends on
/// the order in which such a map is walked.
pub(super) type Ids<T> = HashMap<u64, T, foldhash::fast::RandomState>;

/// All that is left, in the order of the ids.
pub(super) fn in_order<T>(ids: &mut Ids<T>) -> Vec<T> {
    let mut all: Vec<_> = ids.drain().collect();
    all.sort_unstable_by_key(|(id, _)| *id);
    all.into_iter().map(|(_, kept)| kept).collect()
}
