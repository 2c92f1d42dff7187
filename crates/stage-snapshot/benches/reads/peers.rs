//! The same 100k entries in each kind of map.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use dashmap::DashMap;
use stage_snapshot::{Map, Table};

pub(crate) const ENTRIES: u64 = 100_000;

/// All entries, in an order that no cache can guess.
#[derive(Default)]
pub(crate) struct Spread(u64);

impl Spread {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        self.0.wrapping_mul(2_654_435_761) % ENTRIES
    }
}

/// A key as a service has it.
pub(crate) fn name(n: u64) -> Arc<str> {
    format!("user-{n:06}").into()
}

pub(crate) fn map<K: Clone + Eq + Hash>(key: fn(u64) -> K) -> Map<K, u64> {
    (0..ENTRIES).map(|n| (key(n), n)).collect()
}

pub(crate) fn table<K: Clone + Eq + Hash>(key: fn(u64) -> K) -> Table<K, u64> {
    (0..ENTRIES).map(|n| (key(n), n)).collect()
}

pub(crate) fn locked<K: Eq + Hash>(key: fn(u64) -> K) -> HashMap<K, u64> {
    (0..ENTRIES).map(|n| (key(n), n)).collect()
}

pub(crate) fn sharded<K: Eq + Hash>(key: fn(u64) -> K) -> DashMap<K, u64> {
    (0..ENTRIES).map(|n| (key(n), n)).collect()
}
