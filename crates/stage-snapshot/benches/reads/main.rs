//! A consistent read of ten keys, without and with a writer at full speed.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::thread;

use criterion::{Criterion, criterion_group, criterion_main};
use dashmap::DashMap;
use stage_snapshot::Store;

const KEYS: usize = 10;

fn names() -> Vec<String> {
    (0..KEYS).map(|key| format!("key{key}")).collect()
}

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

fn reads(c: &mut Criterion) {
    let names = names();
    let mut group = c.benchmark_group("read 10 keys beside a writer");

    let store = Arc::new(Store::new());
    names.iter().for_each(|name| {
        store.update(name, |_| Ok::<_, Infallible>(Some(1u64))).ok();
    });
    let (writers, reader) = (Arc::clone(&store), Arc::clone(&store));
    let write = move |n| {
        writers.update("key3", |_| Ok::<_, Infallible>(Some(n))).ok();
    };
    beside_writer(write, || {
        group.bench_function("stage", |b| {
            b.iter(|| {
                let snapshot = reader.snapshot();
                names.iter().filter_map(|name| snapshot.get(name)).sum::<u64>()
            });
        });
    });

    let map: HashMap<String, u64> = names.iter().map(|name| (name.clone(), 1)).collect();
    let lock = Arc::new(RwLock::new(map));
    let (writers, reader) = (Arc::clone(&lock), Arc::clone(&lock));
    let write = move |n| {
        writers.write().map(|mut map| map.insert("key3".to_owned(), n)).ok();
    };
    beside_writer(write, || {
        group.bench_function("RwLock<HashMap>", |b| {
            b.iter(|| {
                reader.read().map(|map| names.iter().filter_map(|name| map.get(name)).sum::<u64>())
            });
        });
    });

    let map: DashMap<String, u64> = names.iter().map(|name| (name.clone(), 1)).collect();
    let map = Arc::new(map);
    let (writers, reader) = (Arc::clone(&map), Arc::clone(&map));
    let write = move |n| {
        writers.insert("key3".to_owned(), n);
    };
    beside_writer(write, || {
        // Not consistent across keys, which is what DashMap can offer without a lock of all.
        group.bench_function("DashMap, key by key", |b| {
            b.iter(|| names.iter().filter_map(|name| reader.get(name).map(|v| *v)).sum::<u64>());
        });
    });
    group.finish();
}

criterion_group!(benches, reads);
criterion_main!(benches);
