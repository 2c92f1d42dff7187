//! A hunt for torn reads: writers keep two names, two entries of two tables, and two keys of a map, equal;
//! readers look for a version in which they are not.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use stage_snapshot::{Map, MapSnapshot, Store, Table};

/// Reads by default, and the variable that asks for more: a long hunt takes billions.
const READS: u64 = 300_000;
const READS_VARIABLE: &str = "STAGE_TORN_READS";

const ENTRIES: u64 = 64;

fn reads() -> u64 {
    let asked = std::env::var(READS_VARIABLE).ok();
    asked.map_or(READS, |asked| asked.parse().unwrap())
}

/// Keeps writing in the background until the reads are done.
fn beside_writers<R>(write: impl Fn(u64) + Clone + Send + 'static, read: impl FnOnce() -> R) -> R {
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..2)
        .map(|_| {
            let (stop, write) = (Arc::clone(&stop), write.clone());
            thread::spawn(move || {
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    write(n);
                    n += 1;
                }
                n
            })
        })
        .collect();
    let result = read();
    stop.store(true, Ordering::Relaxed);
    assert!(writers.into_iter().all(|writer| writer.join().unwrap() > 0), "nobody wrote");
    result
}

#[test]
fn two_names_written_together_are_never_seen_apart() {
    let store = Arc::new(Store::new());
    let writing = Arc::clone(&store);
    let write = move |_| {
        let both = writing.transaction(|tx| {
            let next = tx.get("left").copied().unwrap_or(0u64) + 1;
            tx.set("left", next);
            tx.set("right", next);
            Ok::<_, Infallible>(())
        });
        both.unwrap();
    };
    let seen = beside_writers(write, || {
        let (mut last, mut seen) = (None, 0);
        for _ in 0..reads() {
            let snapshot = store.snapshot();
            let (left, right) = (snapshot.get("left"), snapshot.get("right"));
            assert_eq!(left, right);
            assert!(left.copied() >= last, "time went back");
            seen += u64::from(left.copied() > last);
            last = left.copied();
        }
        seen
    });
    assert!(seen > 1, "the writers' work was never seen");
}

#[test]
fn entries_of_two_tables_written_together_are_never_seen_apart() {
    let store: Arc<Store<Table<u64, u64>>> = Arc::new(Store::with_reclaimer().unwrap());
    let writing = Arc::clone(&store);
    let write = move |n: u64| {
        let both = writing.transaction(|tx| {
            for name in ["left", "right"] {
                let mut table = tx.get(name).cloned().unwrap_or_default();
                let entry = table.get(&(n % ENTRIES)).copied().unwrap_or(0);
                table.insert(n % ENTRIES, entry + 1);
                tx.set(name, table);
            }
            Ok::<_, Infallible>(())
        });
        both.unwrap();
    };
    let seen = beside_writers(write, || {
        let (mut last, mut seen) = (0, 0);
        for n in 0..reads() {
            let snapshot = store.snapshot();
            let entry = |name| snapshot.get(name).and_then(|table| table.get(&(n % ENTRIES)));
            assert_eq!(entry("left"), entry("right"));
            seen += u64::from(snapshot.number() > last);
            last = snapshot.number();
        }
        seen
    });
    assert!(seen > 1, "the writers' work was never seen");
}

#[test]
fn keys_of_a_map_written_together_are_never_seen_apart() {
    let map = Arc::new(Map::with_reclaimer().unwrap());
    let writing = Arc::clone(&map);
    let write = move |n: u64| {
        let key = n % ENTRIES;
        let both = writing.transaction(|tx| {
            let next = tx.get(&(0, key)).copied().unwrap_or(0) + 1;
            tx.insert((0, key), next);
            tx.insert((1, key), next);
            Ok::<_, Infallible>(())
        });
        both.unwrap();
    };
    let seen = beside_writers(write, || {
        let mut reader = map.reader();
        let first = map.snapshot();
        let seen = entries(&first);
        let mut held = (first, seen);
        let (mut last, mut seen) = (0, 0);
        for n in 0..reads() {
            let snapshot = if n % 2 == 0 { reader.newest() } else { &map.snapshot() };
            let key = n % ENTRIES;
            assert_eq!(snapshot.get(&(0, key)), snapshot.get(&(1, key)));
            assert!(snapshot.number() >= last, "time went back");
            seen += u64::from(snapshot.number() > last);
            last = snapshot.number();
            if n % 1000 == 0 {
                // What was seen of the snapshot when it was taken is seen of it later.
                assert_eq!(entries(&held.0), held.1);
                assert_eq!(held.0.len(), held.1.len());
                held = (snapshot.clone(), entries(snapshot));
            }
        }
        seen
    });
    assert!(seen > 1, "the writers' work was never seen");
}

fn entries(snapshot: &MapSnapshot<(u8, u64), u64>) -> Vec<((u8, u64), u64)> {
    let mut entries: Vec<_> = snapshot.iter().map(|(key, value)| (*key, *value)).collect();
    entries.sort_unstable();
    entries
}
