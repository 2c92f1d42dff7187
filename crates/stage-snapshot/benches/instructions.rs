//! How many instructions a read and a write of shared state cost.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::exit,
    missing_docs,
    reason = "a bench says what is wrong by panicking, and gungraun's main function exits"
)]

use std::hint::black_box;

use gungraun::{library_benchmark, library_benchmark_group, main};
use stage_snapshot::{Cell, Map};

const ENTRIES: u64 = 100_000;
const TIMES: u64 = 1000;

fn map() -> Map<u64, u64> {
    let map = Map::new();
    for key in 0..ENTRIES {
        map.insert(key, key);
    }
    map
}

#[library_benchmark]
#[bench::thousand(Cell::new(7_u64))]
fn load_a_cell(cell: Cell<u64>) -> u64 {
    (0..TIMES).map(|_| *black_box(&cell).load()).sum()
}

#[library_benchmark]
#[bench::thousand(map())]
fn snapshot_and_look_up(map: Map<u64, u64>) -> (u64, Map<u64, u64>) {
    ((0..TIMES).map(|key| *black_box(&map).snapshot().get(&key).unwrap()).sum(), map)
}

#[library_benchmark]
#[bench::thousand(map())]
fn write_one_of_100k_entries(map: Map<u64, u64>) -> Map<u64, u64> {
    for key in 0..TIMES {
        map.insert(black_box(key), 1);
    }
    map
}

library_benchmark_group!(
    name = snapshot,
    benchmarks = [load_a_cell, snapshot_and_look_up, write_one_of_100k_entries]
);
main!(library_benchmark_groups = snapshot);
