//! The same 100k entries in each kind of map.

use std::collections::HashMap;

use dashmap::DashMap;
use stage_snapshot::Table;

pub(crate) const ENTRIES: u64 = 100_000;

/// Spreads consecutive numbers over all keys.
pub(crate) fn key(n: u64) -> u64 {
    n.wrapping_mul(7919) % ENTRIES
}

pub(crate) fn table() -> Table<u64, u64> {
    (0..ENTRIES).map(|key| (key, 1)).collect()
}

pub(crate) fn locked() -> HashMap<u64, u64> {
    (0..ENTRIES).map(|key| (key, 1)).collect()
}

pub(crate) fn sharded() -> DashMap<u64, u64> {
    (0..ENTRIES).map(|key| (key, 1)).collect()
}
