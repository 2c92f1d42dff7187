//! Loads, lookups and updates of one thread, beside what one would use instead. What a read
//! costs while somebody writes is measured by the bench `beside`.

mod peers;

use std::convert::Infallible;
use std::hash::Hash;
use std::sync::{Arc, RwLock};

use arc_swap::ArcSwap;
use criterion::{
    BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime,
};
use peers::{ENTRIES, Spread, locked, map, name, sharded, table};
use stage_snapshot::{Cell, Store, Table};

fn loads(c: &mut Criterion) {
    let mut group = c.benchmark_group("load");
    let cell = Cell::new(1u64);
    group.bench_function("stage", |b| b.iter(|| *cell.load()));
    let swap = ArcSwap::from_pointee(1u64);
    group.bench_function("ArcSwap", |b| b.iter(|| **swap.load()));
    group.finish();
}

fn lookups(c: &mut Criterion) {
    let mut group = c.benchmark_group("lookup in 100k");
    let mut keys = Spread::default();
    let ours = map(|n| n);
    group.bench_function("stage", |b| {
        b.iter(|| ours.snapshot().get(&keys.next()).copied());
    });
    let mut reader = ours.reader();
    group.bench_function("stage, a reader", |b| {
        b.iter(|| reader.newest().get(&keys.next()).copied());
    });
    let store = Store::new();
    store.update("table", |_| Ok::<_, Infallible>(Some(table(|n| n)))).ok();
    group.bench_function("Store<Table>", |b| {
        b.iter(|| store.snapshot().get("table").and_then(|t| t.get(&keys.next()).copied()));
    });
    let held = store.snapshot();
    group.bench_function("Store<Table>, held", |b| {
        b.iter(|| held.get("table").and_then(|t| t.get(&keys.next()).copied()));
    });
    let lock = RwLock::new(locked(|n| n));
    group.bench_function("RwLock<HashMap>", |b| {
        b.iter(|| lock.read().map(|map| map.get(&keys.next()).copied()).ok());
    });
    let map = sharded(|n| n);
    group.bench_function("DashMap", |b| b.iter(|| map.get(&keys.next()).map(|v| *v)));
    group.finish();
}

fn updates(c: &mut Criterion) {
    let mut group = c.benchmark_group("update one of 100k numbers");
    update(&mut group, |n| n);
    group.finish();
    let mut group = c.benchmark_group("update one of 100k names");
    update(&mut group, name);
    group.finish();
}

fn update<K>(group: &mut BenchmarkGroup<'_, WallTime>, key: fn(u64) -> K)
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
{
    let mut keys = Spread::default();
    let ours = map(key);
    group.bench_function("stage", |b| {
        b.iter(|| {
            let n = keys.next();
            ours.insert(key(n), n)
        });
    });
    let store = Store::new();
    store.update("table", |_| Ok::<_, Infallible>(Some(table(key)))).ok();
    group.bench_function("Store<Table>", |b| {
        b.iter(|| {
            let n = keys.next();
            let write = |old: Option<&Table<K, u64>>| {
                let mut table = old.cloned().unwrap_or_default();
                table.insert(key(n), n);
                Ok::<_, Infallible>(Some(table))
            };
            store.update("table", write).ok();
        });
    });
    let cell = Cell::new(table(key));
    group.bench_function("Cell<Table>", |b| {
        b.iter(|| {
            let n = keys.next();
            let write = |old: &Table<K, u64>| {
                let mut table = old.clone();
                table.insert(key(n), n);
                Ok::<_, Infallible>(table)
            };
            cell.update(write).ok();
        });
    });
    let map = sharded(key);
    group.bench_function("DashMap", |b| {
        b.iter(|| {
            let n = keys.next();
            map.insert(key(n), n)
        });
    });
    let swap = ArcSwap::from_pointee(locked(key));
    group.sample_size(10).bench_function("ArcSwap<HashMap>, clone and swap", |b| {
        b.iter(|| {
            let n = keys.next();
            let mut map = (**swap.load()).clone();
            map.insert(key(n), n);
            swap.store(Arc::new(map));
        });
    });
    assert_eq!((map.len(), ours.snapshot().len()), (ENTRIES as usize, ENTRIES as usize));
}

criterion_group!(benches, loads, lookups, updates);
criterion_main!(benches);
