//! Reads of one cell, and of a map of 100k entries, without and with a writer at full speed.

mod peers;

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::thread;

use arc_swap::ArcSwap;
use criterion::{Criterion, criterion_group, criterion_main};
use dashmap::DashMap;
use peers::{ENTRIES, key, locked, sharded, table};
use stage_snapshot::{Cell, Store, Table};

/// The keys of one consistent read.
const KEYS: [u64; 10] = [3, 14, 159, 2653, 5897, 9323, 84_626, 43_383, 27_950, 28_841];

/// Runs a read with a thread that writes all the while.
fn beside_writer<T>(write: impl Fn(u64) + Send + 'static, read: impl FnOnce() -> T) -> T {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let writer = thread::spawn(move || {
        let mut n = 0;
        while !stopped.load(Ordering::Relaxed) {
            n += 1;
            write(n);
        }
    });
    let result = read();
    stop.store(true, Ordering::Relaxed);
    writer.join().ok();
    result
}

fn loads(c: &mut Criterion) {
    let mut group = c.benchmark_group("load");
    let cell = Cell::new(1u64);
    group.bench_function("Cell", |b| b.iter(|| *cell.load()));
    let swap = ArcSwap::from_pointee(1u64);
    group.bench_function("ArcSwap", |b| b.iter(|| **swap.load()));
    group.finish();
}

/// What a writer does to the store: one entry of the table.
fn put(store: &Store<Table<u64, u64>>, n: u64) {
    let update = |old: Option<&Table<u64, u64>>| {
        let mut table = old.cloned().unwrap_or_default();
        table.insert(key(n), n);
        Ok::<_, Infallible>(Some(table))
    };
    store.update("table", update).ok();
}

fn lookups(c: &mut Criterion) {
    let mut group = c.benchmark_group("lookup in 100k beside a writer");
    let store = Arc::new(Store::new());
    store.update("table", |_| Ok::<_, Infallible>(Some(table()))).ok();
    let writers = Arc::clone(&store);
    beside_writer(
        move |n| put(&writers, n),
        || {
            group.bench_function("snapshot, 1 key", |b| {
                b.iter(|| store.snapshot().get("table").and_then(|t| t.get(&KEYS[3]).copied()));
            });
            group.bench_function("snapshot, 10 keys", |b| {
                b.iter(|| {
                    let snapshot = store.snapshot();
                    let table = snapshot.get("table")?;
                    Some(KEYS.iter().filter_map(|key| table.get(key)).sum::<u64>())
                });
            });
        },
    );

    let lock = Arc::new(RwLock::new(locked()));
    let writers = Arc::clone(&lock);
    let write = move |n| {
        writers.write().map(|mut map| map.insert(key(n), n)).ok();
    };
    beside_writer(write, || {
        group.bench_function("RwLock<HashMap>, 1 key", |b| {
            b.iter(|| lock.read().map(|map| map.get(&KEYS[3]).copied()).ok());
        });
    });

    let map = Arc::new(sharded());
    let writers = Arc::clone(&map);
    let write = move |n| {
        writers.insert(key(n), n);
    };
    beside_writer(write, || {
        // Not consistent across keys; to be so, all their shards would have to be held at once.
        group.bench_function("DashMap, 10 keys one by one", |b| {
            b.iter(|| KEYS.iter().filter_map(|key| map.get(key).map(|v| *v)).sum::<u64>());
        });
        group.bench_function("DashMap, keys of distinct shards, held at once", |b| {
            let keys = keys_of_distinct_shards(&map);
            b.iter(|| held_at_once(&map, &keys));
        });
    });
    group.finish();
}

/// A consistent read: every key's guard is kept until all are read. The keys are of distinct
/// shards, because a second read lock of one thread would wait for a writer that waits for the first.
fn held_at_once(map: &DashMap<u64, u64>, keys: &[u64]) -> u64 {
    let guards: Vec<_> = keys.iter().filter_map(|key| map.get(key)).collect();
    guards.iter().map(|guard| **guard).sum()
}

/// Ten keys, each of another shard, in the order of the shards.
fn keys_of_distinct_shards(map: &DashMap<u64, u64>) -> Vec<u64> {
    let mut keys: Vec<u64> = Vec::new();
    for shard in 0..64 {
        let of_shard = |key: &u64| map.determine_map(key) == shard;
        keys.extend((0..ENTRIES).find(of_shard));
    }
    keys.truncate(KEYS.len());
    keys
}

fn writes(c: &mut Criterion) {
    let mut group = c.benchmark_group("update of one entry in 100k");
    let mut n = 0;
    let mut next = move || {
        n += 1;
        n % ENTRIES
    };
    let store = Store::new();
    store.update("table", |_| Ok::<_, Infallible>(Some(table()))).ok();
    group.bench_function("Store<Table>", |b| b.iter(|| put(&store, next())));
    let mut plain = table();
    group.bench_function("Table, not shared", |b| b.iter(|| plain.insert(key(next()), 1)));
    let map = sharded();
    group.bench_function("DashMap", |b| b.iter(|| map.insert(key(next()), 1)));
    let swap = ArcSwap::from_pointee(locked());
    group.sample_size(10).bench_function("ArcSwap<HashMap>, clone and swap", |b| {
        b.iter(|| {
            let mut map = (**swap.load()).clone();
            map.insert(key(next()), 1);
            swap.store(Arc::new(map));
        });
    });
    group.finish();
}

criterion_group!(benches, loads, lookups, writes);
criterion_main!(benches);
