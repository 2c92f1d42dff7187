//! What 100 held snapshots of a map of 100k entries cost, with 1 % of it written between two.
#![allow(missing_docs, clippy::print_stdout, reason = "it prints what it measured")]

use std::convert::Infallible;
use std::fs;
use std::sync::Arc;

use stage_snapshot::{Store, Table};

const ENTRIES: u64 = 100_000;
const SNAPSHOTS: u64 = 100;

fn main() {
    println!("{:<22}{:>12}{:>22}{:>8}", "", "one map", "100 snapshots held", "ratio");
    held("numbers", |n| n);
    held("records of 1 KiB", |n| Arc::<[u64]>::from(vec![n; 128]));
}

fn held<V: Clone + Send + Sync>(what: &str, value: fn(u64) -> V) {
    let empty = resident();
    let store = Store::new();
    let table: Table<u64, V> = (0..ENTRIES).map(|key| (key, value(key))).collect();
    store.update("table", |_| Ok::<_, Infallible>(Some(table.clone()))).ok();
    drop(table);
    let one = resident().saturating_sub(empty);
    let held: Vec<_> = (0..SNAPSHOTS)
        .map(|round| {
            churn(&store, round, value);
            store.snapshot()
        })
        .collect();
    let all = resident().saturating_sub(empty);
    let ratio = all as f64 / one.max(1) as f64;
    println!("{what:<22}{one:>8} KiB{all:>18} KiB{ratio:>8.2}");
    drop(held);
}

/// Writes 1 % of the entries, one spread over the keys after the other, in one transaction.
fn churn<V: Clone>(store: &Store<Table<u64, V>>, round: u64, value: fn(u64) -> V) {
    let update = |old: Option<&Table<u64, V>>| {
        let mut table = old.cloned().unwrap_or_default();
        for n in 0..ENTRIES / 100 {
            let key = (round * 1000 + n).wrapping_mul(7919) % ENTRIES;
            table.insert(key, value(round));
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
