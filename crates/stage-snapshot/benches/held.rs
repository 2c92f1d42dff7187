//! What 100 held snapshots of a map of 100k entries cost, with 1 % of it written between two.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot go on has failed, and it prints what it measured"
)]

use std::collections::HashMap;
use std::convert::Infallible;
use std::env;
use std::fs;
use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;

use stage_snapshot::{Map, Store, Table};
use xtask_measured::{Asked, Measured, Unit};

const ENTRIES: u64 = 100_000;
const SNAPSHOTS: u64 = 100;

/// How something is measured: the memory of one map, and that with all snapshots, if it has any.
type Measure = fn() -> (u64, Option<u64>);

/// What is held, by whom.
#[derive(Clone, Copy)]
struct Kind {
    values: &'static str,
    by: &'static str,
    measure: Measure,
}

const fn kind(values: &'static str, by: &'static str, measure: Measure) -> Kind {
    Kind { values, by, measure }
}

const NUMBERS: &str = "numbers";
const RECORDS: &str = "records of 1 KiB";

const ALL: [Kind; 6] = [
    kind(NUMBERS, "stage", || map(|n| n)),
    kind(NUMBERS, "stage, a Store of a Table", || table(|n| n)),
    kind(NUMBERS, "HashMap", || plain(|n| n)),
    kind(RECORDS, "stage", || map(record)),
    kind(RECORDS, "stage, a Store of a Table", || table(record)),
    kind(RECORDS, "HashMap", || plain(record)),
];

impl Kind {
    fn id(&self) -> String {
        format!("100 held snapshots of {}/{}", self.values, self.by)
    }
}

fn main() {
    let kinds = Asked::of_process().chosen(ALL, Kind::id);
    if let [only] = kinds[..] {
        return tell(only);
    }
    // Each in a process of its own: memory that one freed would be found again by the next.
    for kind in kinds {
        let mut alone = Command::new(env::current_exe().unwrap());
        assert!(alone.args(["--bench", "--exact", &kind.id()]).status().unwrap().success());
    }
}

fn tell(Kind { values, by, measure }: Kind) {
    let (one, all) = measure();
    let group = format!("one map of {values}");
    let keep = |group: &str, bytes: u64| {
        Measured { group, by, unit: Unit::Bytes, value: bytes as f64 }.keep().unwrap();
    };
    println!("{group}, {by}: {} KiB", one / 1024);
    keep(&group, one);
    if let Some(all) = all {
        let times = all as f64 / one.max(1) as f64;
        println!("with {SNAPSHOTS} snapshots: {} KiB, {times:.2} times as much", all / 1024);
        keep(&format!("100 held snapshots of {values}"), all);
    }
}

fn record(n: u64) -> Arc<[u64]> {
    Arc::from(vec![n; 128])
}

fn map<V: Clone + Send + Sync>(value: fn(u64) -> V) -> (u64, Option<u64>) {
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
    let all = resident().saturating_sub(empty);
    black_box(held);
    (one, Some(all))
}

fn table<V: Clone + Send + Sync>(value: fn(u64) -> V) -> (u64, Option<u64>) {
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
    let all = resident().saturating_sub(empty);
    black_box(held);
    (one, Some(all))
}

/// What the entries alone take.
fn plain<V>(value: fn(u64) -> V) -> (u64, Option<u64>) {
    let empty = resident();
    let map: HashMap<u64, V> = (0..ENTRIES).map(|key| (key, value(key))).collect();
    let one = resident().saturating_sub(empty);
    black_box(map);
    (one, None)
}

/// 1 % of the keys, one spread over them after the other.
fn churned(round: u64) -> impl Iterator<Item = u64> {
    (0..ENTRIES / 100).map(move |n| (round * 1000 + n).wrapping_mul(7919) % ENTRIES)
}

/// The resident memory of this process, in bytes; 0 where the system does not tell.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()).unwrap_or(0)
        * 1024
}
