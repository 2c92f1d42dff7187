//! What 100 held snapshots of a map of 100k entries cost, with 1 % of it written between two.
#![allow(clippy::print_stdout, reason = "it prints what it measured")]

use std::convert::Infallible;
use std::fs;

use stage_snapshot::{Store, Table};

const ENTRIES: u64 = 100_000;
const SNAPSHOTS: u64 = 100;

fn main() {
    let empty = resident();
    let store = Store::new();
    let table: Table<u64, u64> = (0..ENTRIES).map(|key| (key, key)).collect();
    store.update("table", |_| Ok::<_, Infallible>(Some(table.clone()))).ok();
    drop(table);
    let one = resident().saturating_sub(empty);
    let held: Vec<_> = (0..SNAPSHOTS)
        .map(|round| {
            churn(&store, round);
            store.snapshot()
        })
        .collect();
    let all = resident().saturating_sub(empty);
    println!("one map: {one} KiB; with {} snapshots held: {all} KiB", held.len());
    println!("ratio: {:.2}; {:?}", all as f64 / one.max(1) as f64, store.stats());
}

/// Writes 1 % of the entries, one spread over the keys after the other, in one transaction.
fn churn(store: &Store<Table<u64, u64>>, round: u64) {
    let update = |old: Option<&Table<u64, u64>>| {
        let mut table = old.cloned().unwrap_or_default();
        for n in 0..ENTRIES / 100 {
            let key = (round * 1000 + n).wrapping_mul(7919) % ENTRIES;
            table.insert(key, round);
        }
        Ok::<_, Infallible>(Some(table))
    };
    store.update("table", update).ok();
}

/// The resident memory of this process, in KiB; 0 where the system does not tell.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or(0)
}
