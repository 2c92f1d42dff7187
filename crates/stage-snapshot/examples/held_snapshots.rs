//! What 100 held snapshots of a map of 100k entries cost, with 1 % of it written between two.
#![allow(missing_docs, clippy::print_stdout, reason = "it prints what it measured")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::env;
use std::fs;
use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;

use stage_snapshot::{Map, Store, Table};

const ENTRIES: u64 = 100_000;
const SNAPSHOTS: u64 = 100;

type Measure = fn(&str);

/// Each is measured in a process of its own: memory that one freed would be found again by the next.
const WHAT: [(&str, Measure); 6] = [
    ("Map of numbers", |what| map(what, |n| n)),
    ("Map of 1 KiB records", |what| map(what, record)),
    ("Table of numbers", |what| table(what, |n| n)),
    ("Table of 1 KiB records", |what| table(what, record)),
    ("HashMap of numbers", |what| plain(what, |n| n)),
    ("HashMap of 1 KiB records", |what| plain(what, record)),
];

fn main() {
    if let Some(asked) = env::args().nth(1) {
        let asked = WHAT.iter().find(|(what, _)| *what == asked);
        return asked.into_iter().for_each(|(what, measure)| measure(what));
    }
    println!("{:<28}{:>12}{:>22}{:>8}", "", "one", "100 snapshots held", "ratio");
    for (what, _) in WHAT {
        let program = env::current_exe().map(Command::new);
        program.and_then(|mut program| program.arg(what).status()).ok();
    }
}

fn record(n: u64) -> Arc<[u64]> {
    Arc::from(vec![n; 128])
}

fn map<V: Clone + Send + Sync>(what: &str, value: fn(u64) -> V) {
    let empty = resident();
    let map: Map<u64, V> = (0..ENTRIES).map(|key| (key, value(key))).collect();
    let one = resident().saturating_sub(empty);
    let hold = |round| {
        let run = map.transaction(|tx| {
            churned(round).for_each(|key| tx.insert(key, value(round)));
            Ok::<_, Infallible>(())
        });
        run.ok();
        map.snapshot()
    };
    let held: Vec<_> = (0..SNAPSHOTS).map(hold).collect();
    report(what, one, resident().saturating_sub(empty));
    drop(held);
}

fn table<V: Clone + Send + Sync>(what: &str, value: fn(u64) -> V) {
    let empty = resident();
    let store = Store::new();
    let table: Table<u64, V> = (0..ENTRIES).map(|key| (key, value(key))).collect();
    store.update("table", |_| Ok::<_, Infallible>(Some(table.clone()))).ok();
    drop(table);
    let one = resident().saturating_sub(empty);
    let hold = |round| {
        let update = |old: Option<&Table<u64, V>>| {
            let mut table = old.cloned().unwrap_or_default();
            churned(round).for_each(|key| table.insert(key, value(round)));
            Ok::<_, Infallible>(Some(table))
        };
        store.update("table", update).ok();
        store.snapshot()
    };
    let held: Vec<_> = (0..SNAPSHOTS).map(hold).collect();
    report(what, one, resident().saturating_sub(empty));
    drop(held);
}

/// What the entries alone take.
fn plain<V>(what: &str, value: fn(u64) -> V) {
    let empty = resident();
    let map: HashMap<u64, V> = (0..ENTRIES).map(|key| (key, value(key))).collect();
    println!("{what:<28}{:>8} KiB", resident().saturating_sub(empty));
    black_box(map);
}

/// 1 % of the keys, one spread over them after the other.
fn churned(round: u64) -> impl Iterator<Item = u64> {
    (0..ENTRIES / 100).map(move |n| (round * 1000 + n).wrapping_mul(7919) % ENTRIES)
}

fn report(what: &str, one: u64, all: u64) {
    println!("{what:<28}{one:>8} KiB{all:>18} KiB{:>8.2}", all as f64 / one.max(1) as f64);
}

/// The resident memory of this process, in KiB; 0 where the system does not tell.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or(0)
}
