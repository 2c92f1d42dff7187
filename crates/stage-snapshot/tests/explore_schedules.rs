//! The store under explored schedules: its own sources, on shuttle's locks.

#![allow(dead_code, unused_imports, unreachable_pub, missing_docs)]
#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::sync::Arc;

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner, future, thread};

#[path = "../src/history.rs"]
mod history;
#[path = "../src/reclaim.rs"]
mod reclaim;
#[path = "../src/snapshot.rs"]
mod snapshot;
#[path = "../src/store.rs"]
mod store;
#[path = "explore/sync.rs"]
mod sync;
#[path = "../src/transaction.rs"]
mod transaction;
#[path = "../src/watch.rs"]
mod watch;
#[path = "../src/weigh.rs"]
mod weigh;

use history::Stats;
use snapshot::Snapshot;
use store::Store;
use transaction::{Committed, Transaction};
use watch::{Change, Watch};

const SCHEDULES: usize = 1_000;
/// Points at which a rare schedule departs from a plain one.
const DEPARTURES: usize = 3;
const SEED: u64 = 0x57A6E;

fn explore(scenario: fn()) {
    let uniform = RandomScheduler::new_from_seed(SEED, SCHEDULES);
    Runner::new(uniform, Config::new()).run(scenario);
    let rare = PctScheduler::new_from_seed(SEED, DEPARTURES, SCHEDULES);
    Runner::new(rare, Config::new()).run(scenario);
}

/// Moves one from `a` to `b`, both read and written.
fn transfer(store: &Store<i64>) {
    let moved = store.transaction(|tx| {
        let (a, b) = (*tx.get("a").unwrap_or(&0), *tx.get("b").unwrap_or(&0));
        tx.set("a", a - 1);
        tx.set("b", b + 1);
        Ok::<_, Infallible>(())
    });
    moved.unwrap();
}

fn value(snapshot: &Snapshot<i64>, name: &str) -> i64 {
    *snapshot.get(name).unwrap_or(&0)
}

#[test]
fn transfers_are_neither_lost_nor_seen_torn() {
    explore(|| {
        let store = Arc::new(Store::new());
        let writers: Vec<_> = (0..2)
            .map(|_| {
                let store = Arc::clone(&store);
                thread::spawn(move || (0..2).for_each(|_| transfer(&store)))
            })
            .collect();
        let mut last = 0;
        for _ in 0..3 {
            let snapshot = store.snapshot();
            assert_eq!(value(&snapshot, "a") + value(&snapshot, "b"), 0);
            assert!(snapshot.number() >= last, "time went back");
            last = snapshot.number();
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        assert_eq!(value(&store.snapshot(), "b"), 4);
        assert_eq!(store.stats().commits, 4);
    });
}

#[test]
fn one_of_two_that_expect_the_same_version_writes() {
    explore(|| {
        let store = Arc::new(Store::new());
        let rival = Arc::clone(&store);
        let rival = thread::spawn(move || rival.compare_and_set("a", None, Some(1)).is_ok());
        let here = store.compare_and_set("a", None, Some(2)).is_ok();
        assert!(here != rival.join().unwrap());
        assert_eq!(value(&store.snapshot(), "a"), if here { 2 } else { 1 });
    });
}

#[test]
fn a_watcher_that_begins_amid_writes_counts_every_write_and_ends_with_the_newest() {
    explore(|| {
        let store = Arc::new(Store::new());
        let writer = Arc::clone(&store);
        let writer = thread::spawn(move || {
            for n in 1..=3 {
                writer.update("a", |_| Ok::<_, Infallible>(Some(n))).unwrap();
            }
        });
        let mut watch = store.watch("a");
        let first = future::block_on(watch.next()).unwrap();
        writer.join().unwrap();
        let (mut version, mut seen) = (first.version, 0);
        while version < 3 {
            let change = future::block_on(watch.next()).unwrap();
            assert!(change.version > version, "out of order");
            seen += 1 + change.skipped;
            version = change.version;
        }
        assert_eq!(seen + first.version, 3, "a write was not counted");
    });
}

#[test]
fn no_version_outlives_its_last_snapshot() {
    explore(|| {
        let store = Arc::new(Store::new().weighing(|_| 10));
        let reader = Arc::clone(&store);
        let reader = thread::spawn(move || {
            for _ in 0..2 {
                drop(reader.snapshot());
            }
        });
        for _ in 0..3 {
            transfer(&store);
        }
        reader.join().unwrap();
        let stats = store.stats();
        assert_eq!((stats.versions_alive, stats.bytes_alive), (1, Some(20)));
    });
}

/// A value that tells which thread freed it.
struct Freed(Arc<std::sync::Mutex<Vec<thread::ThreadId>>>);

impl Drop for Freed {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(thread::current().id());
    }
}

/// The reclaimer's thread ends in each schedule, or the explorer would call it a deadlock.
#[test]
fn with_a_reclaimer_no_reader_frees_a_version_and_all_are_freed_in_the_end() {
    explore(|| {
        let freed = Arc::new(std::sync::Mutex::new(Vec::new()));
        let store = Arc::new(Store::with_reclaimer().unwrap());
        let write = || {
            let value = Freed(Arc::clone(&freed));
            store.compare_and_set("a", store.snapshot().written("a"), Some(value)).unwrap();
        };
        write();
        let here = Arc::clone(&store);
        let reader = thread::spawn(move || {
            for _ in 0..3 {
                let snapshot = here.snapshot();
                thread::yield_now();
                drop(snapshot);
            }
            thread::current().id()
        });
        (0..10).for_each(|_| write());
        let reader = reader.join().unwrap();
        // Ten versions were replaced: eight may be kept for those who read them just now.
        assert!(!freed.lock().unwrap().contains(&reader), "a reader had to free a version");
        drop(store);
        // The thread of the reclaimer lets go of the rest once it sees that the store is gone.
        while freed.lock().unwrap().len() < 11 {
            thread::yield_now();
        }
    });
}

#[test]
fn a_snapshot_may_outlive_a_store_with_a_reclaimer() {
    explore(|| {
        let freed = Arc::new(std::sync::Mutex::new(Vec::new()));
        let store = Store::with_reclaimer().unwrap();
        store.compare_and_set("a", None, Some(Freed(Arc::clone(&freed)))).unwrap();
        let snapshot = store.snapshot();
        store.compare_and_set("a", Some(1), None).unwrap();
        let closer = thread::spawn(move || drop(store));
        assert!(snapshot.get("a").is_some() && freed.lock().unwrap().is_empty());
        closer.join().unwrap();
        drop(snapshot);
        while freed.lock().unwrap().is_empty() {
            thread::yield_now();
        }
    });
}
